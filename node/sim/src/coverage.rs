//! What a run did to its cluster. A campaign that never did one of these things proves nothing
//! about it.

use std::fmt;

macro_rules! coverage {
    ($($(#[doc = $doc:literal])+ $field:ident: $name:literal,)+) => {
        /// Counts of one run, or of a campaign.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Coverage {
            $($(#[doc = $doc])+ pub $field: u64,)+
        }

        impl Coverage {
            /// Adds the counts of another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }

            /// What never happened.
            pub fn missing(&self) -> Vec<&'static str> {
                [$((self.$field, $name),)+]
                    .into_iter()
                    .filter_map(|(count, name)| (count == 0).then_some(name))
                    .collect()
            }
        }

        impl fmt::Display for Coverage {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let counts = [$(format!("{} {}", self.$field, $name),)+];
                f.write_str(&counts.join(", "))
            }
        }
    };
}

coverage! {
    /// Leaders seen, one a term.
    elections: "elections",
    /// Processes ended without a word.
    crashes: "crashes",
    /// Power cuts of one machine each.
    power_cuts: "power cuts",
    /// Links cut, in whatever shape.
    partitions: "partitions",
    /// Messages lost.
    messages_lost: "messages lost",
    /// Messages delivered twice.
    messages_doubled: "messages doubled",
    /// Times at which links were slow.
    slow_links: "slow links",
    /// Wall clocks set to another time.
    clock_jumps: "clock jumps",
    /// Nodes sealed on purpose.
    seals: "seals",
    /// Nodes unsealed.
    unseals: "unseals",
    /// Leaders told to hand over.
    transfers: "transfers",
    /// Nodes told to take a snapshot.
    snapshots: "snapshots asked for",
    /// Logs that dropped entries behind a snapshot.
    purges: "purges",
    /// Snapshots sent to a peer that took them.
    snapshots_installed: "snapshots installed",
    /// States found damaged or behind, and rebuilt.
    rebuilds: "states rebuilt",
    /// Writes that were acknowledged.
    writes: "acknowledged writes",
    /// Reads and lists that were answered.
    reads: "reads",
    /// Writes of which nobody knows what became of them.
    unknown: "unknown outcomes",
    /// Writes sent again under the id of the first try.
    retries: "retries",
    /// Check-and-set writes refused.
    mismatches: "check-and-set mismatches",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_named() {
        let mut total = Coverage { crashes: 1, ..Coverage::default() };
        total.add(&Coverage { crashes: 2, writes: 5, ..Coverage::default() });
        assert_eq!((total.crashes, total.writes), (3, 5));
        assert!(!total.missing().contains(&"crashes"));
        assert!(total.missing().contains(&"power cuts"));
        assert!(total.to_string().contains("3 crashes, 0 power cuts"));
    }
}

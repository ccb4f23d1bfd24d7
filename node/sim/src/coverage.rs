//! What a run did to its cluster. A campaign that never did one of these things proves nothing
//! about it.

use std::fmt;

use crate::world::Moment;

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
    /// Power cuts of all machines at once, where none of the moments below was waited for.
    cuts_anywhere: "cuts of all power at any moment",
    /// … and at chosen moments.
    cuts_append: "at an append",
    /// Of a vote.
    cuts_vote: "at a vote",
    /// Of the log's end.
    cuts_truncate: "at a truncation",
    /// Of the log's beginning.
    cuts_purge: "at a purge",
    /// A new segment.
    cuts_segment: "at a segment's roll",
    /// A snapshot's bytes.
    cuts_snapshot_write: "at a snapshot's write",
    /// A snapshot's name.
    cuts_snapshot_rename: "at a snapshot's rename",
    /// The state engine.
    cuts_engine: "at an engine's flush",
    /// Boot counter, marks, what was seen.
    cuts_small_file: "at a small file's write",
    /// A node that reads its disk.
    cuts_start: "at a start",
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
    /// Times at which all nodes were sealed.
    seals_of_all: "seals of all",
    /// Sealed nodes that came to lead.
    caretakers: "caretaker elections",
    /// Leaders told to hand over.
    transfers: "transfers",
    /// Nodes told to take a snapshot.
    snapshots: "snapshots asked for",
    /// Logs that dropped entries behind a snapshot.
    purges: "purges",
    /// Snapshots sent to a peer that took them.
    snapshots_installed: "snapshots installed",
    /// Snapshots that a node fetched in place of its own before it took part.
    snapshots_fetched: "snapshots fetched",
    /// States found damaged or behind, and rebuilt.
    rebuilds: "states rebuilt",
    /// Hashes of equal states at equal index, compared by the nodes themselves.
    hash_comparisons: "hash comparisons",
    /// Nodes that told a peer what they have.
    greetings: "greetings",
    /// Machines without space for writes.
    full_disks: "full disks",
    /// Disks that became slow.
    slow_disks: "slow disks",
    /// Disks that did nothing for a while.
    hung_disks: "hung disks",
    /// Syncs that failed, and the process with them.
    failed_syncs: "failed syncs",
    /// Files damaged while nobody looked.
    damages: "damages",
    /// Disks put back as they were earlier.
    rollbacks: "rollbacks",
    /// Nodes that did not open what was spoiled.
    refused_disks: "refused disks",
    /// Nodes told that their disk went back in time.
    told_rolled_back: "told of a rollback",
    /// Nodes told that the cluster went on without them.
    told_fenced: "told that they are out",
    /// Machines that got an empty disk.
    wipes: "wipes",
    /// Nodes admitted.
    joins: "joins",
    /// Three of them at once.
    joins_at_once: "three joins at once",
    /// Members removed.
    removals: "removals",
    /// Voters made learners.
    demotions: "demotions",
    /// Learners made voters.
    promotions: "promotions",
    /// Removed nodes that were started again.
    returns: "returns of removed nodes",
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

impl Coverage {
    /// Counts a power cut of all machines; none: at no chosen moment.
    pub(crate) fn count_cut(&mut self, moment: Option<Moment>) {
        let count = match moment {
            None => &mut self.cuts_anywhere,
            Some(Moment::Append) => &mut self.cuts_append,
            Some(Moment::Vote) => &mut self.cuts_vote,
            Some(Moment::Truncate) => &mut self.cuts_truncate,
            Some(Moment::Purge) => &mut self.cuts_purge,
            Some(Moment::SegmentRoll) => &mut self.cuts_segment,
            Some(Moment::SnapshotWrite) => &mut self.cuts_snapshot_write,
            Some(Moment::SnapshotRename) => &mut self.cuts_snapshot_rename,
            Some(Moment::EngineFlush) => &mut self.cuts_engine,
            Some(Moment::SmallFile) => &mut self.cuts_small_file,
            Some(Moment::Start) => &mut self.cuts_start,
        };
        *count += 1;
    }

    /// Power cuts of all machines.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        let chosen = self.cuts_append + self.cuts_vote + self.cuts_truncate + self.cuts_purge;
        let files = self.cuts_segment + self.cuts_snapshot_write + self.cuts_snapshot_rename;
        let others = self.cuts_engine + self.cuts_small_file + self.cuts_start;
        self.cuts_anywhere + chosen + files + others
    }
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

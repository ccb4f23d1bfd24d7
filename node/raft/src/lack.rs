//! What others saw on this node's disk, and what is there.

use conclave_proto::v1;
use conclave_proto::v1::LogId;
use conclave_store::log::Log;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::State;

/// All that a node's memory is made of.
#[derive(Clone, Copy)]
pub(crate) struct OnDisk<'a> {
    pub(crate) boot_counter: u64,
    pub(crate) log: &'a Log,
    pub(crate) state: &'a State,
    pub(crate) snapshots: &'a SnapshotStore,
}

impl OnDisk<'_> {
    /// What a peer saw of this node and is not here, for people.
    pub(crate) fn lack(&self, seen: &v1::Seen) -> Option<String> {
        if seen.boot_counter > self.boot_counter {
            return Some(format!("start {}", seen.boot_counter));
        }
        if seen.vote_term > self.vote_term() {
            return Some(format!("a vote in term {}", seen.vote_term));
        }
        let durable = seen.durable.filter(|id| !self.holds(id))?;
        Some(format!("entry {} of term {}", durable.index, durable.term))
    }

    pub(crate) fn vote_term(&self) -> u64 {
        self.log.vote().map_or(0, |vote| vote.term)
    }

    pub(crate) fn newest_snapshot(&self) -> Option<v1::SnapshotHeader> {
        // Damage is reported by whoever needs what is in it.
        self.snapshots.latest().ok().flatten().map(|reader| reader.header().clone())
    }

    /// Whether a committed entry is in the log, or in what took its place there. The state comes
    /// first: whatever is cut from the log meanwhile was applied before.
    fn holds(&self, id: &LogId) -> bool {
        let covers = |other: Option<LogId>| other.is_some_and(|other| other.index >= id.index);
        if covers(self.state.applied_id()) {
            return true;
        }
        let log = self.log.state();
        if covers(log.purged) {
            return true;
        }
        if covers(log.last) {
            // What cannot be read may well be right; the log's own readers report that.
            let Ok(stored) = self.log.read(id.index..id.index + 1, 1) else { return true };
            return stored.iter().any(|entry| {
                entry.id.is_some_and(|stored| stored.index == id.index && stored.term == id.term)
            });
        }
        // It was received right before the crash, and is installed when Raft starts.
        self.newest_snapshot().is_some_and(|header| covers(header.last_log_id))
    }
}

/// What is said of a node that lacks something.
pub(crate) fn rolled_back(node_id: u64, lack: &str) -> String {
    format!(
        "node {node_id} saw {lack} of this node, which its data directory no longer holds: it went \
         back in time. Run `conclaved rejoin --config FILE` to set it aside and to join anew under \
         the same name"
    )
}

//! CONTRACT STUB. What this node saw of its peers, so that one whose disk went back in time is told
//! so when it starts.
//!
//! ```text
//! node/seen    frame "CONCSEN1" (as in [`crate::identity`]): SeenPeers
//! ```
//!
//! Kept in memory and written at most once a second by [`SeenStore::save`]; a file that is lost or
//! damaged means that nothing was seen, which is only a guard less.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::Disk;
use crate::v1::Seen;

/// The highest seen of every peer. Clones are the same store.
#[derive(Clone)]
pub struct SeenStore {
    _disk: Arc<dyn Disk>,
    seen: Arc<Mutex<BTreeMap<u64, Seen>>>,
}

impl SeenStore {
    /// Reads what is kept in a data directory; nothing where it is absent or damaged.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(disk: Arc<dyn Disk>) -> io::Result<Self> {
        Ok(Self { _disk: disk, seen: Arc::default() })
    }

    /// Takes note of what a peer has on disk: each of its figures rises or stays.
    pub fn saw(&self, now: &Seen) {
        self.seen().insert(now.node_id, *now);
    }

    /// The highest ever seen of a peer.
    #[must_use]
    pub fn of(&self, node_id: u64) -> Option<Seen> {
        self.seen().get(&node_id).copied()
    }

    /// Forgets all peers but these: members that were removed never come back.
    pub fn retain(&self, node_ids: &[u64]) {
        self.seen().retain(|id, _| node_ids.contains(id));
    }

    /// Writes what changed since the last call, durably.
    ///
    /// # Errors
    /// The operating system's.
    pub fn save(&self) -> io::Result<()> {
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<u64, Seen>> {
        self.seen.lock().expect("no holder of what was seen panics")
    }
}

//! What the disk is told to do wrong, and what it counts.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// No limit on space or syncs.
pub(super) const UNLIMITED: u64 = u64::MAX;

/// What a sync makes durable, told from the file's place in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncKind {
    /// A log segment, of which more than votes was written since its last sync.
    Log,
    /// A log segment, of which nothing but votes was written since its last sync: the sync that
    /// stands between a vote and its answer.
    Vote,
    /// A snapshot file.
    Snapshot,
    /// A directory, whichever.
    Directory,
    /// Any other file.
    Other,
}

pub(super) struct Switches {
    /// A bit for each kind of sync that does nothing.
    skipped: AtomicU32,
    /// Syncs that succeed before all others fail.
    pub(super) good_syncs: AtomicU64,
    pub(super) fail_writes: AtomicBool,
    pub(super) fail_renames: AtomicBool,
    pub(super) space_bytes_max: AtomicU64,
    pub(super) used_bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
}

impl SyncKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Log, Self::Vote, Self::Snapshot, Self::Directory, Self::Other];

    /// The kind of a sync of the file at `path`, to which `pending` was written.
    pub(super) fn of_file(path: &str, pending: impl FnOnce() -> Vec<Vec<u8>>) -> Self {
        match path.split_once('/') {
            Some(("snapshots", _)) => Self::Snapshot,
            Some(("log", "mark")) => Self::Other,
            Some(("log", _)) => {
                let pending = pending();
                let votes = pending.iter().all(|bytes| crate::log::is_votes_only(bytes));
                if votes && !pending.is_empty() { Self::Vote } else { Self::Log }
            }
            _ => Self::Other,
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            skipped: AtomicU32::default(),
            good_syncs: AtomicU64::new(UNLIMITED),
            fail_writes: AtomicBool::default(),
            fail_renames: AtomicBool::default(),
            space_bytes_max: AtomicU64::new(UNLIMITED),
            used_bytes: AtomicU64::default(),
            syncs: AtomicU64::default(),
        }
    }
}

impl Switches {
    pub(super) fn skip(&self, kinds: &[SyncKind]) {
        let bits = kinds.iter().fold(0, |bits, kind| bits | kind.bit());
        self.skipped.store(bits, Ordering::Relaxed);
    }

    /// True where the sync is to make something durable.
    pub(super) fn begin_sync(&self, kind: SyncKind) -> io::Result<bool> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let good = self.good_syncs.load(Ordering::Relaxed);
        if good == 0 {
            return Err(io::Error::other("this disk was told to fail syncs"));
        }
        if good != UNLIMITED {
            self.good_syncs.store(good - 1, Ordering::Relaxed);
        }
        Ok(self.skipped.load(Ordering::Relaxed) & kind.bit() == 0)
    }

    /// Takes the space by which a file of `length` grows to `end`. Returns up to where it may be
    /// written: less than `end` where there is no space for all of it.
    pub(super) fn begin_write(&self, length: u64, end: u64) -> io::Result<u64> {
        if self.fail_writes.load(Ordering::Relaxed) {
            return Err(io::Error::other("this disk was told to fail writes"));
        }
        if end <= length {
            return Ok(end);
        }
        let used = self.used_bytes.load(Ordering::Relaxed);
        let left = self.space_bytes_max.load(Ordering::Relaxed).saturating_sub(used);
        let growth = (end - length).min(left);
        self.used_bytes.store(used + growth, Ordering::Relaxed);
        Ok(length + growth)
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let used = self.used_bytes.load(Ordering::Relaxed);
        self.used_bytes.store(used.saturating_sub(bytes), Ordering::Relaxed);
    }
}

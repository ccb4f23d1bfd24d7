//! The clonable face of the log.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::figures::{LogFigures, LogProgress};
use super::recover::recover;
use super::shared::Shared;
use super::writer::LogWriter;
use super::{Done, LogConfig, LogError, LogState};
use crate::disk::Disk;
use crate::v1::{Entry, LogId, Vote};

/// A clonable handle: operations are queued in order for one writer. Dropping the last one closes
/// the log.
#[derive(Clone)]
pub struct Log {
    closer: Arc<Closer>,
}

struct Closer {
    shared: Arc<Shared>,
}

impl Log {
    /// Opens the log of a data directory, or begins one. Reads all of it.
    ///
    /// # Errors
    /// [`LogError::Damaged`] where what was acknowledged cannot be read back; the node must not
    /// vote then. The operating system's otherwise.
    pub fn open(disk: Arc<dyn Disk>, config: LogConfig) -> Result<(Self, LogWriter), LogError> {
        let (journal, index) = recover(disk, &config)?;
        let shared = Arc::new(Shared::new(journal.standing(), index, config.cache_bytes_max));
        let writer = LogWriter::new(Arc::clone(&shared), journal);
        Ok((Self { closer: Arc::new(Closer { shared }) }, writer))
    }

    /// The ends of the log, with everything that is queued.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.shared().standing().state()
    }

    /// The newest vote, queued or saved.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.shared().standing().vote
    }

    /// Entries are readable on return, durable when `done` is called. They must follow the last
    /// one without a gap (the first one of a log that holds nothing and was never purged may have
    /// any index), else `done` gets `InvalidInput` and nothing is appended.
    pub fn append(&self, entries: Vec<Entry>, done: Done) {
        self.shared().append(entries, done);
    }

    /// Saves a vote; it is durable when `done` is called.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        self.shared().save_vote(vote, done);
    }

    /// Drops every entry after `last`.
    pub fn truncate_after(&self, last: Option<LogId>, done: Done) {
        self.shared().truncate(last, done);
    }

    /// Drops every entry up to and including `through`.
    pub fn purge(&self, through: LogId, done: Done) {
        self.shared().purge(through, done);
    }

    /// Consecutive entries of the range, from its start, without holes; stops after `bytes_max` but
    /// returns at least one where one exists. Empty where the start of the range is not stored.
    ///
    /// # Errors
    /// The operating system's; `InvalidData` where an entry does not read back.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let found = self.shared().find(range, bytes_max);
        let mut entries = Vec::new();
        for piece in &found.pieces {
            piece.read_into(&mut entries)?;
        }
        entries.extend(found.recent);
        Ok(entries)
    }

    /// The newest entry that is on disk and that no truncation under way will drop. Behind
    /// [`LogState::last`] as long as something waits for the disk.
    #[must_use]
    pub fn synced(&self) -> Option<LogId> {
        self.shared().synced()
    }

    /// What was asked for and what of it is done, of one moment.
    #[must_use]
    pub fn progress(&self) -> LogProgress {
        self.shared().progress()
    }

    /// Counts and sizes for metrics.
    #[must_use]
    pub fn figures(&self) -> LogFigures {
        self.shared().figures()
    }

    /// Ends the writer once all that was queued is on disk. Later operations fail.
    pub fn close(&self) {
        self.shared().close();
    }

    fn shared(&self) -> &Shared {
        &self.closer.shared
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

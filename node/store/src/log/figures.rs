//! What the log tells an observer.

use crate::v1::LogId;

/// Moments in the writer's work. An observer with a clock measures latency between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEvent {
    /// A batch of so many bytes is about to be written.
    WriteBegins {
        /// Its length.
        bytes: usize,
    },
    /// The batch was written and is about to be synced.
    SyncBegins,
    /// The sync returned.
    SyncEnded {
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// A new segment took over.
    SegmentBegan {
        /// Its number.
        sequence: u64,
    },
    /// The operations of a group were answered.
    GroupEnded {
        /// How many.
        operations: usize,
    },
}

/// How far the disk is behind what was asked. Cheap enough to look at every heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LogProgress {
    /// The newest entry, queued or stored; as [`super::LogState::last`].
    pub last: Option<LogId>,
    /// The newest entry that is on disk; see [`super::Log::synced`].
    pub synced: Option<LogId>,
    /// Operations asked for since the log was opened, of every kind.
    pub asked: u64,
    /// How many of those were done. They are done in order, a group at a time: while this stands
    /// still below `asked`, the disk is at work, or hangs, or is full.
    pub answered: u64,
    /// The writer waits for space on the disk.
    pub full: bool,
}

/// Counts since the log was opened, and sizes now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Groups answered.
    pub groups: u64,
    /// Operations answered.
    pub operations: u64,
    /// Entries written.
    pub entries: u64,
    /// Batches written; each was synced once.
    pub syncs: u64,
    /// Bytes of those batches.
    pub bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Operations that wait.
    pub queued_operations: u64,
    /// Bytes of those operations.
    pub queued_bytes: u64,
    /// Bytes of entries in memory.
    pub cache_bytes: u64,
}

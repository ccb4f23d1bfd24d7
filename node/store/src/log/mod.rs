//! The Raft log and the vote.
//!
//! # One journal
//!
//! Everything Raft wants kept goes through one queue, in order, to one writer, and from there into
//! one append-only journal: entries, votes, and markers that say "all after this one is dropped"
//! (truncation) or "all up to this one is dropped" (purge). Nothing is ever overwritten, so a power
//! cut leaves a journal that ends earlier and never a mix of an old and a new tail. What the
//! journal amounts to is found by replaying it.
//!
//! The journal is cut into segment files, zeroed ahead of use ([`segment`] draws the header,
//! [`mod@format`] batches and records). A segment's header repeats the sum of everything before it
//! (ends of the log, vote), so a segment whose entries were all purged or truncated can be removed,
//! oldest first. A group of waiting operations is one *batch*: one write, one sync. Batches are
//! numbered without gaps over the whole life of the log.
//!
//! # Invariants
//!
//! 1. *At most one batch is not durable*: a batch is written only once the one before was synced,
//!    and a segment gets its name only once its header was synced. So a power cut can tear the
//!    newest batch and nothing else.
//! 2. *The mark is never ahead*: the mark file ([`mark`]) is written after the sync of a batch and
//!    before anyone hears of that batch. It says which batch was synced last, in which boot. It is
//!    synced itself where a segment begins, before anything in that segment is acknowledged.
//! 3. *Nobody hears of what is not durable*: a `Done` is called with success after the sync and the
//!    mark. What recovery finds behind the mark is written again and synced before it is shown,
//!    because a process that died between write and sync, or of a sync that failed, left bytes that
//!    no sync covers.
//! 4. *Each `Done` is called exactly once*, also where the writer fails, panics or is dropped.
//! 5. *The first error is the last*: after a failed write or sync nobody knows what is on disk, so
//!    every operation of that group and all later ones fail, and the process must end. One thing
//!    is no error: that there is no space for another segment. Segments are zeroed whole before
//!    they get a name, so space is missing there or nowhere; nothing is answered then, in order,
//!    until there is some.
//! 6. *Bytes hold only in their place*: checksums cover segment and offset.
//!
//! # What recovery accepts
//!
//! Let E be the newest batch up to which the journal is valid without a gap.
//!
//! - The mark names a batch after E, or a segment after the newest: something acknowledged is gone.
//!   Damage.
//! - A valid batch stands after the first invalid place: by invariant 1 no power cut does that.
//!   Damage. So is a segment that ends before the batch its successor begins with, a batch at
//!   which the mark and the journal disagree about last entry or vote, an entry that is missing.
//! - Something else than zeros follows E, the torn tail. In the boot that wrote the mark, it is the
//!   batch that a process left unfinished: it is dropped if the mark names E itself, since the mark
//!   is exact then; otherwise it is damage. In another boot the mark may be older than E, and the
//!   tail is what a power cut left of the batch after E: it is dropped. Dropping means writing
//!   zeros over it.
//!
//! What stays unnoticed is a valid older end within the newest segment whose mark was set back as
//! well: by a power cut, by damage to both, or by an older copy of the directory. Only peers can
//! notice that (see [`crate::seen`]). A damaged log refuses to open: its node must not vote.
//!
//! # Reading
//!
//! An entry can be read as soon as it was appended. The newest entries are kept in memory, always
//! including those not on disk yet; older ones are found through a table of offsets.

mod ahead;
mod cache;
mod figures;
mod format;
mod group;
mod handle;
mod index;
mod journal;
mod mark;
mod recover;
mod segment;
mod shared;
mod standing;
mod synced;
mod writer;

pub(crate) use format::is_votes_only;

pub use figures::{LogEvent, LogFigures, LogProgress};
pub use handle::Log;
pub use writer::LogWriter;

use std::io;

use crate::v1::LogId;

/// Called exactly once, from the writer, when the operation is on disk (or failed for good). Where
/// the writer has ended already it is called at once, by whoever asks.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// An operation that brings a record above this is refused.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// Operations are grouped up to this many bytes; the rest waits for the next group.
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// Bounds of [`LogConfig::segment_bytes`]; a segment grows beyond for a record that needs it.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// See [`SEGMENT_BYTES_MIN`].
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Where the log is kept.
const DIRECTORY: &str = "log";
const WAY_OUT: &str = "this node must not vote on it: set its data aside and join it again with `conclaved rejoin`, or, where most nodes are lost, see `conclaved recover`";

/// How the log is kept.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Size of a segment file; preallocated.
    pub segment_bytes: u64,
    /// Entries kept in memory for replication, at most.
    pub cache_bytes_max: usize,
    /// Identifies this boot of the machine: only after another boot may a torn tail be dropped.
    pub boot_id: [u8; 16],
}

/// The ends of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LogState {
    /// The newest entry that was purged.
    pub purged: Option<LogId>,
    /// The newest entry stored; equals `purged` where none is.
    pub last: Option<LogId>,
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Names the file and the way out.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// The path in the data directory.
        file: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

fn damaged(file: &str, what: impl std::fmt::Display) -> LogError {
    LogError::Damaged { file: file.to_owned(), what: format!("{what}: {WAY_OUT}") }
}

#[cfg(test)]
mod tests;

//! What the face of the state machine speaks in.

use bytes::Bytes;

use super::engine::EngineError;
use super::hash::StateHash;
use crate::v1::{LogId, StoredMembership};

/// The memory the state machine may use beside its engine.
#[derive(Debug, Clone)]
pub struct StateConfig {
    /// Writes held in memory above this make `apply` flush first.
    pub overlay_bytes_max: usize,
    /// Before-images held for open views above this expire the oldest view.
    pub undo_bytes_max: usize,
    /// Replicas compare their hashes at multiples of this index: all must have the same.
    pub checkpoint_entries: u64,
}

/// Where the state machine stands.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The newest applied entry; none before the first.
    pub log_id: Option<LogId>,
    /// The membership in force and the entry that set it.
    pub membership: Option<StoredMembership>,
    /// Stamped time, milliseconds since the Unix epoch; never goes back.
    pub stamped_ms: u64,
    /// The set hash after that entry.
    pub state_hash: StateHash,
    /// Rises where history does not simply go on: a recovery, a restore. 1 at first.
    pub epoch: u64,
}

/// What applying an entry did. Deterministic: every replica computes the same.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A blank or membership entry.
    Nothing,
    /// A command was executed.
    Applied {
        /// The index of its entry, the revision of all that it wrote.
        revision: u64,
    },
    /// A condition did not hold, or the command breaks a limit of
    /// [`validate`](super::validate): nothing was written.
    ConditionFailed,
    /// The same request was executed before.
    Replayed {
        /// The revision it was executed at.
        revision: u64,
        /// The sealed response it was remembered with.
        reply: Bytes,
    },
    /// This request id was used for another request.
    RequestConflict,
    /// The session does not exist or has ended, or has forgotten this sequence: whether the
    /// request was executed is unknown.
    SessionUnknown,
    /// The owner has too many sessions, or the session remembers too many requests.
    SessionLimit,
    /// No such restore is under way, or what was staged is not what its header promises: it was
    /// given up and nothing changed.
    RestoreFailed,
}

/// Why the state machine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What the engine holds is not what was written to it.
    #[error("the state is damaged: {0}; set it aside and rebuild it from a snapshot and the log")]
    Damaged(String),
    /// This entry cannot be understood by this version: the node must stop, never skip it.
    #[error(
        "entry {index} cannot be applied: {what}; stop this node and run a version that knows it"
    )]
    Unknown {
        /// The entry's index; 0 where it has none.
        index: u64,
        /// What is not understood.
        what: String,
    },
    /// The before-images that this view needs are no longer held.
    #[error("the view is too old; open a new one")]
    ViewExpired,
    /// A restore is staged: a copy would lack what its later entries build on.
    #[error("a restore is under way; try again when it has ended")]
    Restoring,
    /// A chunk or its header does not fit.
    #[error("the snapshot is not valid: {0}; fetch it again from another peer")]
    Snapshot(String),
}

/// A row as a view sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The index of the entry that wrote it.
    pub revision: u64,
    /// Opaque bytes.
    pub value: Bytes,
}

/// What stands in a directory: a row or a directory, by its last segment. A row and a directory
/// of one name are two children, the row first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Child {
    /// The last segment.
    pub name: Bytes,
    /// Whether it is a directory.
    pub directory: bool,
}

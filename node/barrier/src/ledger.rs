//! The port to what lies below the ciphertext line.
//!
//! The barrier sees an ordered, replicated map from encrypted names to ciphertext. It never learns
//! how that map is replicated or stored; the composition root adapts Raft and the store to this.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

/// A boxed future, as `futures::future::BoxFuture`: this crate links no async library.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A row's place: encrypted segments, outermost first. See `Key` in `storage.proto`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The encrypted segments.
    pub segments: Vec<Bytes>,
    /// Whether its directory keeps no revision.
    pub flat: bool,
}

/// A row as the ledger holds it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Ciphertext.
    pub value: Bytes,
    /// Of the write that put it there.
    pub revision: u64,
}

/// One child of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Child {
    /// The encrypted segment.
    pub name: Bytes,
    /// A name can be a row, a directory, or both; then it is listed twice, the row first.
    pub directory: bool,
}

/// What must hold when the batch is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The row has this revision; 0 for absent.
    Key {
        /// The row.
        key: Key,
        /// Its revision.
        revision: u64,
    },
    /// The directory has this revision; 0 for "has no child".
    Children {
        /// The directory's segments; empty for the root.
        directory: Vec<Bytes>,
        /// Its revision.
        revision: u64,
    },
}

/// A put, or a delete where `value` is `None`.
#[derive(Debug, Clone)]
pub struct Write {
    /// The row.
    pub key: Key,
    /// The ciphertext.
    pub value: Option<Bytes>,
}

/// Makes a batch idempotent; see `RequestId` in `storage.proto`.
#[derive(Debug, Clone)]
pub struct RequestId {
    /// Which session.
    pub session: Bytes,
    /// The request's number in it.
    pub sequence: u64,
    /// The lowest number the client still asks about.
    pub low_water: u64,
    /// HMAC over what the request says.
    pub fingerprint: Bytes,
    /// The sealed response for a replay.
    pub reply: Bytes,
}

/// Opens or closes a session.
#[derive(Debug, Clone)]
pub enum SessionChange {
    /// Opens it.
    Open {
        /// Its id.
        session: Bytes,
        /// Who it belongs to: an HMAC.
        owner: Bytes,
        /// How long it lives without a request.
        ttl_ms: u64,
    },
    /// Closes it.
    Close {
        /// Its id.
        session: Bytes,
    },
}

/// One log entry: conditions, then writes, all or nothing. The ledger stamps the time.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The request it answers.
    pub request_id: Option<RequestId>,
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What is written.
    pub writes: Vec<Write>,
    /// A sealed descriptor for watchers.
    pub event: Option<Bytes>,
    /// A session to open or close.
    pub session: Option<SessionChange>,
}

/// What became of a batch that reached the log.
#[derive(Debug, Clone)]
pub enum Committed {
    /// It was applied at this revision.
    Applied {
        /// The log index.
        revision: u64,
    },
    /// A condition did not hold; nothing was written.
    ConditionFailed,
    /// The same request was applied before.
    Replayed {
        /// At this revision.
        revision: u64,
        /// With this sealed response.
        reply: Bytes,
    },
    /// The request id was used for another request.
    RequestConflict,
    /// The session is unknown or ended: whether the request ran before is unknown.
    SessionUnknown,
    /// The owner has too many sessions.
    SessionLimit,
}

/// Why a batch or a read did not get an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// This node does not lead; nothing was proposed.
    #[error("this node does not lead")]
    NotLeader,
    /// Too much waits already; nothing was proposed.
    #[error("too many requests are waiting")]
    Busy,
    /// No node that could lead has disk space; nothing was proposed.
    #[error("the disk is full")]
    DiskFull,
    /// No quorum answered in time; nothing was proposed.
    #[error("no quorum")]
    Unavailable,
    /// The batch may or may not be applied.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
    /// The batch or a value in it is above the limit; nothing was proposed.
    #[error("the batch has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// The batch breaks a rule of the ledger, which is named; nothing was proposed.
    #[error("the batch is not valid: {0}")]
    Invalid(String),
    /// The view is too old to be kept; take a new one.
    #[error("the view is too old")]
    ViewExpired,
    /// A record below the line is damaged.
    #[error("storage is damaged: {0}")]
    Damaged(String),
}

/// The point that a linearizable read waits for.
#[derive(Debug, Clone, Copy)]
pub struct ReadPoint {
    /// This node has applied at least this.
    pub revision: u64,
    /// The leader's stamped time.
    pub leader_ms: u64,
}

/// The replicated map.
pub trait Ledger: Send + Sync + 'static {
    /// Everything as it stood at this node's newest applied revision.
    fn view(&self) -> Arc<dyn LedgerView>;

    /// Waits until this node has applied all that was acknowledged anywhere before the call.
    fn read_barrier(&self) -> BoxFuture<'_, Result<ReadPoint, LedgerError>>;

    /// A point to begin a write at, where this node leads as far as it knows. Views from here on may
    /// be older than what another leader has acknowledged: what is read in them counts only once
    /// [`commit`](Self::commit) has found all of it unchanged, and else a barrier must come first.
    fn write_point(&self) -> Option<ReadPoint>;

    /// Proposes `batch` and waits until it is applied here. Works on the leader only.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, LedgerError>>;
}

/// The map at one revision. Reads never block on the network.
pub trait LedgerView: Send + Sync {
    /// The revision.
    fn revision(&self) -> u64;

    /// The cluster's stamped time at that revision.
    fn stamped_ms(&self) -> u64;

    /// Rises where history does not simply go on: a recovery, a restore. 1 at first.
    fn epoch(&self) -> u64;

    /// A row.
    ///
    /// # Errors
    /// `ViewExpired`, `Damaged`.
    fn get(&self, key: &Key) -> Result<Option<Row>, LedgerError>;

    /// A directory's revision: when a child last appeared or went; 0 where it has none.
    ///
    /// # Errors
    /// `ViewExpired`, `Damaged`.
    fn directory_revision(&self, directory: &[Bytes]) -> Result<u64, LedgerError>;

    /// At most `limit` names of a directory's flat rows, in order, those after `after`.
    ///
    /// # Errors
    /// `ViewExpired`, `Damaged`.
    fn flat_names(
        &self,
        directory: &[Bytes],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Bytes>, LedgerError>;

    /// At most `limit` children in the order of their encrypted names, those after `after`.
    ///
    /// # Errors
    /// `ViewExpired`, `Damaged`.
    fn children(
        &self,
        directory: &[Bytes],
        after: Option<&Child>,
        limit: usize,
    ) -> Result<Vec<Child>, LedgerError>;
}

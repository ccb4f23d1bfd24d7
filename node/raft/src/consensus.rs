//! The face of consensus: what everything above knows of Raft.

use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_store::log::Log;
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{Outcome, State};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::{PeerError, PeerTransport};

/// How a node takes part.
#[derive(Debug, Clone)]
pub struct RaftConfig {
    /// This node's id: above 0, never reused.
    pub node_id: u64,
    /// Snapshots of another cluster are refused. Empty before the cluster has an id.
    pub cluster_id: Vec<u8>,
    /// A leader's sign of life, this often. One read round may take two of them.
    pub heartbeat: Duration,
    /// A follower campaigns at the earliest after this long without a leader.
    pub election_timeout_min: Duration,
    /// … and at the latest after this long. Also the bound of a read barrier.
    pub election_timeout_max: Duration,
    /// Build a snapshot after this many entries since the last one.
    pub snapshot_entries: u64,
    /// Keep this many entries behind a snapshot for slow followers.
    pub keep_entries: u64,
    /// Commands that may wait to be proposed; more are refused as busy.
    pub waiting_commands_max: usize,
}

/// What a node is made of.
pub struct RaftParts {
    /// The log. Its writer is driven by the owner, who also closes it after
    /// [`Consensus::shutdown`].
    pub log: Log,
    /// The state machine; may be empty or behind.
    pub state: State,
    /// Stored snapshots.
    pub snapshots: SnapshotStore,
    /// What was seen of the peers.
    pub seen: SeenStore,
    /// Which start of this node this is.
    pub boot_counter: u64,
    /// The members that let this node in, where it joined.
    pub joined: v1::Membership,
    /// The way to the peers.
    pub transport: Arc<dyn PeerTransport>,
    /// Time, randomness, tasks.
    pub ports: Ports,
}

/// Whether this node may serve as an ordinary leader, or only as caretaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It holds no key: it votes and replicates, and leads only where nobody else does.
    Sealed,
    /// It holds the keys, and its disk is at the reserve: as `Sealed`, but commands that only
    /// delete are taken.
    Full,
    /// It can do all a leader does.
    Ready,
}

/// A command that was committed and applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposed {
    /// The log index.
    pub revision: u64,
    /// What applying it did.
    pub outcome: Outcome,
}

/// Why a command has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was appended: another node may be asked.
    #[error("this node does not lead, ask the leader")]
    NotLeader,
    /// Nothing was appended: it may be asked again later.
    #[error("too many commands wait, try again")]
    Busy,
    /// It may or may not take effect: only a request id makes another try safe.
    #[error("the outcome is unknown, try again with the same request id")]
    Unknown,
    /// Nothing was appended, and never will be.
    #[error("the command has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// Of the command, or of its largest value.
        bytes: usize,
        /// The limit that it exceeds.
        bytes_max: usize,
    },
    /// Nothing was appended, and never will be: the command breaks the rule named.
    #[error("{0}")]
    Invalid(String),
    /// Nothing was appended: this leader's disk is at its reserve, and no other node can lead.
    #[error("the disk is full: free space on the nodes that vote")]
    Full,
    /// Nothing was appended.
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

/// Why there is no read point.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// No leader was found, or its quorum did not confirm in time, or this node lags behind.
    #[error("no quorum answered in time, try again")]
    Unavailable,
    /// This node takes part no more.
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

/// Why membership or leadership did not change.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MembershipError {
    /// Another node decides.
    #[error("this node does not lead, ask the leader")]
    NotLeader,
    /// It cannot be done, for the reason named.
    #[error("{0}")]
    Refused(String),
    /// It may or may not have taken effect.
    #[error("no quorum answered in time, look at the members and try again")]
    Unavailable,
}

/// A member to be.
#[derive(Debug, Clone, PartialEq)]
pub struct AddMember {
    /// Its id, addresses and key.
    pub member: v1::Member,
    /// Becomes a voter once caught up.
    pub voter: bool,
}

/// How this node sees itself and its cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RaftStatus {
    /// This node.
    pub node_id: u64,
    /// The newest term it has seen.
    pub term: u64,
    /// The leader it knows.
    pub leader_id: Option<u64>,
    /// Whether it leads, as caretaker or in full.
    pub is_leader: bool,
    /// Whether a quorum answered it lately, where it leads; whether it knows a leader, elsewhere.
    pub has_quorum: bool,
    /// The last entry of its log.
    pub last_log_index: u64,
    /// The last entry it knows to be committed.
    pub committed_index: u64,
    /// The last entry it applied.
    pub applied_index: u64,
    /// Voters and learners, ascending by id.
    pub members: Vec<MemberView>,
    /// The entry that set this membership.
    pub membership_index: u64,
    /// This node's state differs from its peers': it has stopped.
    pub quarantined: bool,
    /// A peer has a later epoch and no place for this node: it has stopped.
    pub fenced: bool,
    /// A peer saw more on its disk than is there: it has stopped.
    pub rolled_back: bool,
    /// Its disk is at the reserve or too slow to lead.
    pub unfit: bool,
    /// The epoch of what it applied.
    pub epoch: u64,
    /// Raft ended by itself (a storage error): the process must end.
    pub fatal: Option<String>,
}

/// A member as the membership has it.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberView {
    /// Its id, addresses and key.
    pub member: v1::Member,
    /// A learner otherwise.
    pub voter: bool,
}

/// One node's consensus, whatever runtime drives it. Also the receiving end of peer messages.
pub trait Consensus: Send + Sync + 'static {
    /// Makes this node the only voter of a new cluster, and waits until it leads.
    fn bootstrap(&self, member: v1::Member) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Proposes a command, stamped with the cluster's time; answers once it is applied here.
    /// Refused as `NotLeader` while this node is [`Readiness::Sealed`].
    fn propose(&self, command: v1::Command) -> BoxFuture<'_, Result<Proposed, ProposeError>>;

    /// A linearizable read point that this node has applied, within one election timeout.
    fn read_barrier(&self) -> BoxFuture<'_, Result<v1::ReadPoint, ReadError>>;

    /// A point to begin a write at, without asking anybody: this node leads as far as it knows, and
    /// heard of a quorum a moment ago. Somebody else may lead nevertheless, so nothing that is read
    /// here counts before an entry with its conditions is committed.
    fn write_point(&self) -> Option<v1::ReadPoint>;

    /// A look at the node, without waiting.
    fn status(&self) -> RaftStatus;

    /// Completes when `status` may have changed (leader, term, membership, readiness, fatal,
    /// quarantine) since this call; at the latest after a second. To miss nothing, call it first
    /// and `status` second, then wait.
    fn changed(&self) -> BoxFuture<'_, ()>;

    /// Adds a learner; a voter to be is promoted once it has caught up, in the background where
    /// that takes long.
    fn add_member(&self, add: AddMember) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Adds a learner and answers once that is committed, so that whoever leads next knows it. One
    /// that is to vote is promoted in the background once it has caught up.
    fn admit_member(&self, add: AddMember) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Removes a voter or learner. A leader that is to remove itself hands over and answers
    /// `NotLeader`: the next one is asked again.
    fn remove_member(&self, node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Makes a learner a voter, once it has caught up.
    fn promote_member(&self, node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Makes a voter a learner that stays one. A leader that is to demote itself hands over and
    /// answers `NotLeader`.
    fn demote_member(&self, node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Hands leadership to a live, caught-up, unsealed voter; waits until another leads.
    fn transfer_leadership(&self) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Says whether this node is sealed. It starts as sealed.
    fn set_readiness(&self, readiness: Readiness);

    /// Stops intake and ends Raft; the log is drained by its owner afterwards.
    fn shutdown(&self) -> BoxFuture<'_, ()>;

    /// Asks for a snapshot now; it is built in the background.
    fn trigger_snapshot(&self) -> BoxFuture<'_, ()>;

    /// Entries and heartbeats of a leader, answered in order.
    fn on_append(
        &self,
        requests: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxStream<'static, Result<v1::AppendReply, PeerError>>;

    /// A candidate asks for a vote or a pre-vote.
    fn on_vote(&self, request: v1::VoteRequest) -> BoxFuture<'_, Result<v1::VoteReply, PeerError>>;

    /// A leader sends a snapshot.
    fn on_snapshot(
        &self,
        parts: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'_, Result<v1::SnapshotReply, PeerError>>;

    /// A leader hands over, to this node or another.
    fn on_transfer(
        &self,
        request: v1::TransferRequest,
    ) -> BoxFuture<'_, Result<v1::TransferReply, PeerError>>;

    /// A follower asks this node, as leader, for a read point.
    fn on_read_index(
        &self,
        request: v1::ReadIndexRequest,
    ) -> BoxFuture<'_, Result<v1::ReadIndexReply, PeerError>>;

    /// A peer asks how this node is doing.
    fn on_status(
        &self,
        request: v1::StatusRequest,
    ) -> BoxFuture<'_, Result<v1::StatusReply, PeerError>>;
}

/// A handle to a node.
pub type Raft = Arc<dyn Consensus>;

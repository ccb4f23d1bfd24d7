//! What both doors need of a node.

use std::net::IpAddr;

use bytes::Bytes;
use conclave_core::{Error, Request, Response, Standing};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use zeroize::Zeroizing;

/// A node's own view of itself and of its cluster; what `seal-status`, `health` and `leader` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Whether the cluster was initialised, or this node joined one that was.
    pub initialized: bool,
    /// Whether this node holds no keys.
    pub sealed: bool,
    /// Shares needed to unseal.
    pub threshold: u8,
    /// Shares that exist.
    pub shares: u8,
    /// Shares given in the unseal attempt under way.
    pub progress: u8,
    /// Of that attempt.
    pub nonce: String,
    /// `shamir` or `static`.
    pub seal_type: String,
    /// The configured name.
    pub cluster_name: String,
    /// Empty before initialisation.
    pub cluster_id: String,
    /// 0 before initialisation.
    pub node_id: u64,
    /// The configured name.
    pub node_name: String,
    /// 0 where none is known.
    pub leader_id: u64,
    /// Empty where none is known.
    pub leader_api_addr: String,
    /// Empty where none is known.
    pub leader_cluster_addr: String,
    /// Raft's.
    pub term: u64,
    /// Raft's.
    pub committed_index: u64,
    /// Raft's.
    pub applied_index: u64,
    /// Public addresses of all members.
    pub member_api_addrs: Vec<String>,
    /// Whether this node set itself apart because its state differs from its peers'.
    pub quarantined: bool,
    /// Why this node takes no part in its cluster, or not yet, and what to do. Empty where it takes
    /// part, sealed or not.
    pub reason: String,
    /// Whether this node, as leader, heard from a quorum lately, or as follower from a leader.
    pub has_quorum: bool,
}

/// `sys/init`.
#[derive(Debug, Clone, Copy)]
pub struct InitRequest {
    /// How many shares the unseal key is split into. 0 with a seal that needs none.
    pub shares: u8,
    /// How many of them open it.
    pub threshold: u8,
}

/// The answer to `sys/init`: the only time these are seen.
pub struct InitResponse {
    /// Shares of the unseal key; of the recovery key where the seal opens by itself.
    pub keys: Vec<Zeroizing<Vec<u8>>>,
    /// The first token.
    pub root_token: Zeroizing<String>,
}

/// `sys/storage/raft/join`, on the node that is to join. It has no `Debug`: its token is secret.
#[derive(Clone, Default)]
pub struct JoinRequest {
    /// `host:port` of a member's peer listener, if the token does not name it.
    pub leader_cluster_addr: Option<String>,
    /// A single-use join token; the node's own join secret otherwise.
    pub token: Option<String>,
    /// Join as a learner that never votes.
    pub non_voter: bool,
}

/// A backup on its way, piece by piece.
pub type SnapshotBytes = BoxStream<'static, std::io::Result<Bytes>>;

/// A node, as its two doors see it.
pub trait Service: Send + Sync + 'static {
    /// Serves a client request here or on the leader, as it needs.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>>;

    /// Counts a request that arrived here, before anything of it but its head was read, and tells
    /// where its caller stands; none where no rate quota is about it. Must not wait.
    fn within_quota(&self, path: &str, client: Option<IpAddr>) -> Option<Standing>;

    /// Answered in every state, without a token.
    fn status(&self) -> NodeStatus;

    /// Initialises the cluster, with this node as its first member.
    fn init(&self, request: InitRequest) -> BoxFuture<'_, Result<InitResponse, Error>>;

    /// Gives one share of the unseal key, or with `reset` forgets those given so far.
    fn unseal(
        &self,
        share: Zeroizing<Vec<u8>>,
        reset: bool,
    ) -> BoxFuture<'_, Result<NodeStatus, Error>>;

    /// Joins this node to a cluster.
    fn join(&self, request: JoinRequest) -> BoxFuture<'_, Result<(), Error>>;

    /// A signed backup at one revision, for a caller who may have it.
    fn save_snapshot(&self, request: Request) -> BoxFuture<'_, Result<SnapshotBytes, Error>>;

    /// Replaces the cluster's state by a backup, which is verified whole first. `force` takes also
    /// one of another cluster.
    fn restore_snapshot(
        &self,
        request: Request,
        force: bool,
        backup: SnapshotBytes,
    ) -> BoxFuture<'_, Result<Response, Error>>;

    /// Metrics, for listeners that serve them without a token.
    fn metrics(&self) -> String;

    /// The headers that the audit log may hold, in lower case; a request carries no others on.
    fn audited_headers(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether web pages of this origin may call; none where the cluster has no rules for any. Must
    /// not wait.
    fn allows_origin(&self, _origin: &str) -> Option<bool> {
        None
    }

    /// The headers that calls from such pages may carry.
    fn allowed_headers(&self) -> Vec<String> {
        Vec::new()
    }

    /// Random bytes for request ids.
    fn make_request_id(&self) -> String;
}

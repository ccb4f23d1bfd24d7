//! How typed peer messages travel: tonic over mutual TLS in production, queues in simulation.

use conclave_proto::v1;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// What a peer sends of a snapshot that was asked for.
pub type SnapshotParts = BoxStream<'static, Result<v1::SnapshotPart, PeerError>>;

/// A peer to talk to, as the membership names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its Raft id.
    pub node_id: u64,
    /// Where, and with which key it must answer.
    pub member: v1::Member,
}

/// Why a peer did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// It could not be reached, or the connection broke: it may or may not have acted.
    #[error("peer {node_id} is unreachable: {reason}")]
    Unreachable {
        /// Which.
        node_id: u64,
        /// For the log.
        reason: String,
    },
    /// It answered that it cannot serve now (starting, stopping, not a member).
    #[error("peer {node_id} refused: {reason}")]
    Refused {
        /// Which.
        node_id: u64,
        /// For the log.
        reason: String,
    },
}

/// Sends typed messages to peers. Connections are the implementation's business: it keeps
/// replication, heartbeats with votes, and snapshots on three connections a peer, opens them
/// lazily, and never blocks here to do so.
pub trait PeerTransport: Send + Sync + 'static {
    /// Opens a replication stream: requests go out in order, replies come back in order.
    fn append(
        &self,
        target: &Target,
        requests: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<v1::AppendReply, PeerError>>, PeerError>>;

    /// A vote or a pre-vote.
    fn vote(
        &self,
        target: &Target,
        request: v1::VoteRequest,
    ) -> BoxFuture<'static, Result<v1::VoteReply, PeerError>>;

    /// A whole snapshot.
    fn snapshot(
        &self,
        target: &Target,
        parts: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'static, Result<v1::SnapshotReply, PeerError>>;

    /// Asks the target to take over leadership.
    fn transfer(
        &self,
        target: &Target,
        request: v1::TransferRequest,
    ) -> BoxFuture<'static, Result<v1::TransferReply, PeerError>>;

    /// Asks the leader for a point that a linearizable read may wait for.
    fn read_index(
        &self,
        target: &Target,
        request: v1::ReadIndexRequest,
    ) -> BoxFuture<'static, Result<v1::ReadIndexReply, PeerError>>;

    /// Tells a peer what this node has on disk, before it takes part.
    fn greet(
        &self,
        target: &Target,
        request: v1::GreetRequest,
    ) -> BoxFuture<'static, Result<v1::GreetReply, PeerError>>;

    /// Asks for a snapshot, before this node takes part: a start without vote, then the chunks.
    fn fetch_snapshot(
        &self,
        target: &Target,
        _request: v1::FetchSnapshotRequest,
    ) -> BoxFuture<'static, Result<SnapshotParts, PeerError>> {
        let (node_id, reason) = (target.node_id, "this transport fetches no snapshots".to_owned());
        std::future::ready(Err(PeerError::Refused { node_id, reason })).boxed()
    }

    /// Asks how the peer is doing.
    fn status(
        &self,
        target: &Target,
        request: v1::StatusRequest,
    ) -> BoxFuture<'static, Result<v1::StatusReply, PeerError>>;
}

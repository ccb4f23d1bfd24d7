//! How nodes talk: gRPC over mutually authenticated TLS 1.3, on a port of their own.
//!
//! Three parts: [`PeerServer`] takes connections, decides message by message who may say what, and
//! hands the rest to consensus and the node; [`TonicTransport`] is the calling side; [`join()`] is
//! how a node that is no member becomes one.
//!
//! Invariants: the sender named in a message is the one whose key made the connection; a key that
//! is no member's gets an answer from the `Join` service only, or from Raft if the cluster's own
//! authority signed it and this node may merely lag.

mod access;
mod client;
mod connect;
mod failure;
mod join;
mod listener;
mod probe;
mod proof;
mod recorder;
mod seal_answer;
mod service;
mod token;
mod unseal;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use conclave_barrier::SealRecord;
use conclave_proto::v1;
use conclave_raft::{Raft, SnapshotParts};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tonic::Status;
use zeroize::Zeroizing;

pub use client::TonicTransport;
pub use failure::ForwardError;
pub use join::{JoinError, JoinParams, VerifiedJoin, join};
pub use listener::{PeerServer, PeerServerError};
pub use probe::{Standing, standing_of};
pub use recorder::FrameRecorder;
pub use seal_answer::{SEAL_ANSWER_ID, derive_seal_answer, seal_record_of};
pub use token::{JoinToken, read_join_secret};
pub use unseal::{UnsealError, UnsealKey, UnsealPlace, seal_root_key};

use crate::tls::SpkiPin;

/// Who belongs to the cluster, as far as this node knows. Asked for every message: it must answer
/// from memory.
pub trait PeerDirectory: Send + Sync + 'static {
    /// The member whose key has this pin.
    fn member_by_pin(&self, pin: &SpkiPin) -> Option<u64>;

    /// Whether this id is a member's, under whatever pin.
    fn is_member(&self, node_id: u64) -> bool;

    /// Whether this id was a member's once and is none's any more.
    fn is_removed(&self, node_id: u64) -> bool;
}

/// What the node supplies to the peer port.
pub trait PeerHandler: Send + Sync + 'static {
    /// Consensus, `None` before it starts and after it stopped.
    fn consensus(&self) -> Option<Raft>;

    /// Answers a node that starts what this one remembers of it. The connection proved who asks, be
    /// it a member still or not.
    ///
    /// # Errors
    /// A refusal: this node belongs to no cluster, or takes no part in it.
    fn greet(&self, request: &v1::GreetRequest) -> Result<v1::GreetReply, Status>;

    /// Sends a member that starts the newest snapshot of this node.
    ///
    /// # Errors
    /// A refusal: there is none that reaches far enough, or too many are being sent.
    fn fetch_snapshot(&self, request: &v1::FetchSnapshotRequest) -> Result<SnapshotParts, Status>;

    /// Serves a client's request that a member hands over, as leader.
    fn forward(
        &self,
        request: v1::ForwardRequest,
    ) -> BoxFuture<'_, Result<v1::ForwardReply, Status>>;

    /// Restores a backup that a member's client sends, as leader.
    fn restore(
        &self,
        request: v1::ForwardRequest,
        parts: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> BoxFuture<'_, Result<v1::ForwardReply, Status>>;

    /// Gives a member the root key, where the cluster's policy allows it.
    fn peer_unseal(
        &self,
        request: v1::PeerUnsealRequest,
    ) -> BoxFuture<'_, Result<v1::PeerUnsealReply, Status>>;

    /// The seal record, for a node that is to join by the seal's answer. It is not secret.
    ///
    /// # Errors
    /// A refusal: this node belongs to no cluster, or has not received its state yet.
    fn show_seal(&self) -> Result<SealRecord, JoinRefusal>;

    /// The secret of a join token, that of [`SEAL_ANSWER_ID`], or with an empty id the shared join
    /// secret. Not answering for
    /// a token that is used up or too old is this function's business.
    fn join_secret<'a>(
        &'a self,
        token_id: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, JoinRefusal>>;

    /// Makes a node that proved to know the secret a member: uses the token up, allocates an id,
    /// signs the key, changes the membership.
    fn admit(&self, join: VerifiedJoin) -> BoxFuture<'_, Result<v1::JoinReply, JoinRefusal>>;
}

/// Why a node was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinRefusal {
    /// Only the leader admits: its peer listener, where one is known.
    NotLeader(Option<String>),
    /// The token is unknown, used or too old, or this node has no join secret.
    UnknownToken,
    /// Not now: sealed, starting, no quorum. The reason is shown to the joiner.
    NotReady(String),
    /// Not ever. The reason is shown to the joiner.
    Refused(String),
}

/// The largest message either side takes or sends.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

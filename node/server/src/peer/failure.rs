//! Why a call to a peer has no answer, and whether the peer may have acted on it all the same.

use std::error::Error as _;

use conclave_raft::PeerError;
use tonic::{Code, ConnectError, Status};

/// Why a request that was to be forwarded has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ForwardError {
    /// No connection stood, so no byte of it left this node. Nothing was executed.
    #[error("node {node_id} cannot be connected to: {reason}")]
    NotSent {
        /// Which.
        node_id: u64,
        /// For the log.
        reason: String,
    },
    /// The peer cannot serve now. Nothing was executed.
    #[error("node {node_id} refused: {reason}")]
    Refused {
        /// Which.
        node_id: u64,
        /// For the log.
        reason: String,
    },
    /// It counts this node among its members no more, or not yet. Nothing was executed.
    #[error("node {node_id} does not know this node: {reason}")]
    Stranger {
        /// Which.
        node_id: u64,
        /// For the log.
        reason: String,
    },
    /// It may have arrived: it may or may not have been executed.
    #[error("node {node_id} did not answer: {reason}")]
    Lost {
        /// Which.
        node_id: u64,
        /// For the log.
        reason: String,
    },
}

/// Why one call has no answer.
pub(super) enum Failure {
    /// This node knows no key for the peer.
    NoPin,
    /// tonic's status: the peer's, or made on this side.
    Status(Status),
    /// Time ran out.
    Overdue,
}

impl Failure {
    /// As Raft sees it.
    pub(super) fn into_peer_error(self, node_id: u64) -> PeerError {
        match self {
            Self::Status(status) if is_refusal(&status) => {
                PeerError::Refused { node_id, reason: status.message().to_owned() }
            }
            Self::Status(status) => PeerError::Unreachable { node_id, reason: reason_of(&status) },
            Self::NoPin => PeerError::Refused { node_id, reason: NO_PIN.to_owned() },
            Self::Overdue => PeerError::Unreachable { node_id, reason: OVERDUE.to_owned() },
        }
    }

    /// As the sender of a client's request sees it: what matters is whether it was executed.
    pub(super) fn into_forward_error(self, node_id: u64) -> ForwardError {
        match self {
            Self::Status(status) if is_of_a_stranger(&status) => {
                ForwardError::Stranger { node_id, reason: status.message().to_owned() }
            }
            Self::Status(status) if is_refusal(&status) => {
                ForwardError::Refused { node_id, reason: status.message().to_owned() }
            }
            Self::Status(status) if is_unconnected(&status) => {
                ForwardError::NotSent { node_id, reason: reason_of(&status) }
            }
            Self::Status(status) => ForwardError::Lost { node_id, reason: reason_of(&status) },
            Self::NoPin => ForwardError::NotSent { node_id, reason: NO_PIN.to_owned() },
            Self::Overdue => ForwardError::Lost { node_id, reason: OVERDUE.to_owned() },
        }
    }
}

/// A status with a source comes from this side's transport; one without was sent by the peer.
fn is_refusal(status: &Status) -> bool {
    let refused = matches!(
        status.code(),
        Code::Unavailable
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::ResourceExhausted
            | Code::Unimplemented
            | Code::InvalidArgument
    );
    refused && status.source().is_none()
}

/// The peer port's word for whoever is no member.
fn is_of_a_stranger(status: &Status) -> bool {
    status.code() == Code::PermissionDenied && status.source().is_none()
}

/// Whether TCP or TLS did not come about. tonic says so by a type of its own: whatever goes wrong
/// once a connection stood, even before it took the request, is none.
fn is_unconnected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The status's message and what lies under it: tonic's own says "transport error" only.
fn reason_of(status: &Status) -> String {
    let mut reason = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = error.source();
    }
    reason
}

const NO_PIN: &str = "the membership has no key for it";
const OVERDUE: &str = "no answer in time";

//! How an engine says no.

use bytes::Bytes;

use crate::StorageError;

/// What kind of failure it is. The gateway maps each to the protocol's own status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// Malformed, or not canonical.
    InvalidRequest,
    /// A check-and-set condition does not hold.
    CasMismatch,
    /// No token, a bad one, or one without the capability.
    PermissionDenied,
    /// No such route, object or version.
    NotFound,
    /// The path exists, the operation does not.
    UnsupportedOperation,
    /// The request id was used for another request.
    Conflict,
    /// Above a size limit.
    TooLarge,
    /// A quota or a queue is full, or the request lost too many races.
    Busy,
    /// The cluster was never initialised.
    NotInitialized,
    /// This node is sealed.
    Sealed,
    /// No leader could be reached; nothing was executed.
    NoLeader,
    /// No quorum could be reached; nothing was executed.
    Unavailable,
    /// The request may or may not have been executed.
    OutcomeUnknown,
    /// The request's time ran out before anything was executed.
    DeadlineExceeded,
    /// This node's state differs from its peers'.
    Quarantined,
    /// A fault of ours.
    Internal,
}

/// An error with what the caller may read and, apart from it, what only the log may read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// The kind.
    pub code: ErrorCode,
    /// For the caller: lower case, ends with what to do next, holds no secret. Empty where Vault's
    /// answer is an empty `errors` list (a plain 404).
    pub message: String,
    /// A body that goes with the error (KV v2 answers a deleted version with 404 *and* metadata).
    pub data: Option<Bytes>,
    /// For the log only: never shown to the caller, holds no secret.
    pub internal: Option<String>,
}

impl EngineError {
    /// An error of this kind with a message for the caller.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, internal: None }
    }

    /// A malformed request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// Nothing is there; the caller sees an empty list of errors, as clients expect.
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "")
    }

    /// A fault of ours: the caller learns nothing but that.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Internal,
            message: "internal error; the node's log says more".into(),
            data: None,
            internal: Some(detail.into()),
        }
    }

    /// The same error with a body.
    #[must_use]
    pub fn with_data(mut self, data: Bytes) -> Self {
        self.data = Some(data);
        self
    }
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Busy => {
                Self::new(ErrorCode::Busy, "too many reads at old revisions; try again")
            }
            StorageError::TooLarge { bytes, bytes_max } => Self::new(
                ErrorCode::TooLarge,
                format!(
                    "the value has {bytes} bytes, the limit is {bytes_max}; store less in one secret"
                ),
            ),
            StorageError::BadName(why) => Self::invalid(why),
            StorageError::Damaged(detail) => Self::internal(detail),
        }
    }
}

//! How an engine says no.

use bytes::Bytes;

use crate::StorageError;

/// What kind of failure it is. The gateway maps each to the protocol's own status. The numbers are
/// the contract's (`conclave-proto`), where 8 is the gateway's own; they stand in kept replies and
/// are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorCode {
    /// Malformed, or not canonical.
    InvalidRequest = 1,
    /// A check-and-set condition does not hold.
    CasMismatch = 2,
    /// No token, a bad one, or one without the capability.
    PermissionDenied = 3,
    /// No such route, object or version.
    NotFound = 4,
    /// The path exists, the operation does not.
    UnsupportedOperation = 5,
    /// The request id was used for another request.
    Conflict = 6,
    /// Above a size limit.
    TooLarge = 7,
    /// A quota or a queue is full, or the request lost too many races.
    Busy = 9,
    /// The cluster was never initialised.
    NotInitialized = 10,
    /// This node is sealed.
    Sealed = 11,
    /// No leader could be reached; nothing was executed.
    NoLeader = 12,
    /// No quorum could be reached; nothing was executed.
    Unavailable = 13,
    /// The request may or may not have been executed.
    OutcomeUnknown = 14,
    /// The request's time ran out before anything was executed.
    DeadlineExceeded = 15,
    /// This node's state differs from its peers'.
    Quarantined = 16,
    /// A fault of ours.
    Internal = 17,
    /// The session of the request id is unknown or has ended; this attempt was not executed.
    SessionUnknown = 18,
    /// No node that could lead has disk space left; nothing was executed, reads go on.
    DiskFull = 19,
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

    /// A body that is not the JSON it should be. Says where and what kind, not what stood there:
    /// serde's own text can quote the value.
    pub fn from_json(error: &serde_json::Error) -> Self {
        use serde_json::error::Category;
        let kind = match error.classify() {
            Category::Data => "a field is missing or has the wrong type",
            Category::Eof => "the body ends too early",
            Category::Syntax | Category::Io => "the body is not valid JSON",
        };
        Self::invalid(format!(
            "failed to parse JSON input: {kind} (line {}, column {})",
            error.line(),
            error.column()
        ))
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

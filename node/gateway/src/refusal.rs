//! How both doors say no: one type, made from the core's errors and from the gateway's own.

use bytes::Bytes;
use conclave_core as core;
use conclave_proto::ErrorCode;

use crate::wire_code;

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The kind; the table in `conclave-proto` gives both doors' status.
    pub(crate) code: ErrorCode,
    /// An HTTP status that says it better than the table's.
    pub(crate) http_status: Option<u16>,
    /// For the caller. Empty for a plain 404.
    pub(crate) message: String,
    /// JSON that goes with the error.
    pub(crate) data: Option<Bytes>,
    /// The request's id, where one was given before it was refused.
    pub(crate) request_id: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            http_status: None,
            message: message.into(),
            data: None,
            request_id: String::new(),
        }
    }

    /// The code with the standard text.
    pub(crate) fn from_code(code: ErrorCode) -> Self {
        Self::new(code, default_message(code))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "")
    }

    pub(crate) fn denied(message: &str) -> Self {
        Self::new(ErrorCode::PermissionDenied, message)
    }

    pub(crate) fn unsupported() -> Self {
        Self::from_code(ErrorCode::UnsupportedOperation)
    }

    pub(crate) fn busy(what: &str) -> Self {
        Self::new(ErrorCode::Busy, format!("too many {what} at once; try again in a second"))
    }

    /// A fault of ours; the detail goes to the log only.
    pub(crate) fn internal(detail: &str) -> Self {
        tracing::error!(detail, "the gateway failed to serve a request");
        Self::from_code(ErrorCode::Internal)
    }

    /// The same refusal under another HTTP status.
    pub(crate) fn with_http_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    pub(crate) fn http_status(&self) -> u16 {
        self.http_status.unwrap_or_else(|| self.code.http_status())
    }

    /// Whether a moment later may go better, so that the reply names one.
    pub(crate) fn is_momentary(&self) -> bool {
        matches!(self.code, ErrorCode::Busy | ErrorCode::Quarantined)
    }
}

impl From<core::Error> for Refusal {
    fn from(error: core::Error) -> Self {
        if let Some(detail) = &error.internal {
            tracing::error!(detail, code = ?error.code, "a request failed");
        }
        let code = wire_code(error.code);
        let plain_404 = code == ErrorCode::NotFound;
        let message = if error.message.is_empty() && !plain_404 {
            default_message(code).to_owned()
        } else {
            error.message
        };
        Self { code, http_status: None, message, data: error.data, request_id: String::new() }
    }
}

/// What is said where the core said nothing.
fn default_message(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest => "the request is malformed",
        ErrorCode::CasMismatch => "check-and-set parameter did not match the current version",
        ErrorCode::PermissionDenied => "permission denied",
        ErrorCode::NotFound => "",
        ErrorCode::UnsupportedOperation => "unsupported operation",
        ErrorCode::Conflict => "the request id was used for another request; take a new one",
        ErrorCode::TooLarge => "the request is too large; send less at once",
        ErrorCode::UnsupportedMediaType => "the content type is not understood; send JSON",
        ErrorCode::Busy => "too busy; try again in a second",
        ErrorCode::NotInitialized => "the cluster is not initialised; initialise it first",
        // The exact text that clients of the Vault API look for.
        ErrorCode::Sealed => "Vault is sealed",
        ErrorCode::NoLeader => "no leader can be reached; try again, here or on another node",
        ErrorCode::Unavailable => "no quorum can be reached; nothing was executed, try again",
        ErrorCode::OutcomeUnknown => {
            "the request may or may not have been executed; read before sending it again"
        }
        ErrorCode::DeadlineExceeded => "the time ran out before anything was executed; try again",
        ErrorCode::Quarantined => "this node set itself apart; ask another one",
        ErrorCode::Internal => "internal error; the node's log says more",
        ErrorCode::SessionUnknown => "unknown or ended session; open a new one",
        ErrorCode::DiskFull => {
            "the disks of the nodes that could lead are full; free space there to write"
        }
    }
}

//! What a call may end with.

use conclave_proto::ErrorCode;

/// Why a call failed. No variant ever holds a token or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used; nothing was sent.
    #[error("{message}")]
    Config {
        /// What is wrong with it and what to write instead.
        message: String,
    },
    /// An argument of the call cannot be used; nothing was sent.
    #[error("{message}")]
    Argument {
        /// What is wrong with it.
        message: String,
    },
    /// A node refused. Nothing was executed, unless the code is `Internal`: then it is not known.
    #[error("{message}")]
    Refused {
        /// The reason, in the terms that all doors share.
        code: ErrorCode,
        /// The node's own words, which end with what to do.
        message: String,
    },
    /// The request may or may not have been executed, and asking again cannot tell.
    #[error(
        "it is not known whether the request was executed: {message}; {}",
        advice_for(ErrorCode::OutcomeUnknown)
    )]
    OutcomeUnknown {
        /// What the last attempt met.
        message: String,
    },
    /// No node could be reached in time; nothing was executed.
    #[error(
        "no node answered after {attempts} attempts, the last one: {message}; {}",
        advice_for(ErrorCode::Unavailable)
    )]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt met.
        message: String,
    },
    /// A node's answer makes no sense.
    #[error("the node's answer cannot be read: {message}; compare the versions of client and node")]
    Answer {
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// The code of the shared table, where the error has one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Config { .. } | Self::Answer { .. } => None,
            Self::Argument { .. } => Some(ErrorCode::InvalidRequest),
            Self::Refused { code, .. } => Some(*code),
            Self::OutcomeUnknown { .. } => Some(ErrorCode::OutcomeUnknown),
            Self::Unreachable { .. } => Some(ErrorCode::Unavailable),
        }
    }

    /// What a person can do next, in general terms.
    pub fn advice(&self) -> &'static str {
        match self.code() {
            Some(code) => advice_for(code),
            None => "correct the configuration and try again",
        }
    }

    /// Whether a node was asked, that is, whether the fault may lie beyond this process.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::Config { .. } | Self::Argument { .. })
    }
}

fn advice_for(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest => "correct the request",
        ErrorCode::CasMismatch => "read the current version and decide again",
        ErrorCode::PermissionDenied => "check the token and its policies",
        ErrorCode::NotFound => "check the path",
        ErrorCode::UnsupportedOperation => "use an operation that the path has",
        ErrorCode::Conflict => "use a new request id for a new request",
        ErrorCode::TooLarge => "store less in one secret",
        ErrorCode::UnsupportedMediaType => "send JSON",
        ErrorCode::Busy => "try again later, or less often",
        ErrorCode::NotInitialized => "run `conclave operator init`",
        ErrorCode::Sealed => "run `conclave operator unseal` on the node",
        ErrorCode::NoLeader | ErrorCode::Unavailable | ErrorCode::DeadlineExceeded => {
            "check that a majority of the nodes run and can be reached"
        }
        ErrorCode::OutcomeUnknown => "read what it should have written before sending it again",
        ErrorCode::Quarantined => "look at the node's log and ask another node",
        ErrorCode::Internal => "look at the node's log",
        ErrorCode::SessionUnknown => "open a new session; read before sending the request again",
        ErrorCode::DiskFull => "free disk space on the nodes that vote",
    }
}

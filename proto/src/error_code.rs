//! The one table from an error code to HTTP status, gRPC status and what a client may retry.

/// What went wrong, in the terms that servers, SDK and CLI share.
///
/// The discriminants travel between nodes and in the gRPC metadata `conclave-error`; they are
/// never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum ErrorCode {
    /// The request is malformed, or names something in a form that is not canonical.
    InvalidRequest = 1,
    /// A check-and-set condition does not hold.
    CasMismatch = 2,
    /// No token, a bad one, or one without the capability. Also where the caller may not know
    /// whether the object exists.
    PermissionDenied = 3,
    /// No such route, object or version.
    NotFound = 4,
    /// The path exists, the operation does not.
    UnsupportedOperation = 5,
    /// The request id was used for another request.
    Conflict = 6,
    /// The body, or a value in it, is above its limit.
    TooLarge = 7,
    /// The body's media type is not understood.
    UnsupportedMediaType = 8,
    /// A quota or a queue is full; later may succeed.
    Busy = 9,
    /// The cluster was never initialised.
    NotInitialized = 10,
    /// This node is sealed.
    Sealed = 11,
    /// This node does not lead and could not reach the node that does. Nothing was executed.
    NoLeader = 12,
    /// A quorum could not be reached in time. Nothing was executed.
    Unavailable = 13,
    /// The request may or may not have been executed.
    OutcomeUnknown = 14,
    /// The request's time ran out before anything was executed.
    DeadlineExceeded = 15,
    /// This node has set itself apart because its state differs from its peers'.
    Quarantined = 16,
    /// A fault of ours.
    Internal = 17,
    /// The session of the request id is unknown or has ended: this attempt was not executed, and
    /// whether an earlier one was is unknown.
    SessionUnknown = 18,
    /// No node that could lead has disk space left. Nothing was executed; reads go on.
    DiskFull = 19,
}

/// What a client may do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request will fail the same way.
    Never,
    /// The request was not executed: sending it again, here or elsewhere, is safe.
    Safe,
    /// The request may have been executed: only a request that carries an id may be sent again.
    WithRequestId,
}

impl ErrorCode {
    /// Every code, in the order of the discriminants.
    pub const ALL: [Self; 19] = [
        Self::InvalidRequest,
        Self::CasMismatch,
        Self::PermissionDenied,
        Self::NotFound,
        Self::UnsupportedOperation,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Busy,
        Self::NotInitialized,
        Self::Sealed,
        Self::NoLeader,
        Self::Unavailable,
        Self::OutcomeUnknown,
        Self::DeadlineExceeded,
        Self::Quarantined,
        Self::Internal,
        Self::SessionUnknown,
        Self::DiskFull,
    ];

    /// The code with this number, as it stood on the wire.
    pub fn from_wire(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u32 == number)
    }

    /// HTTP status, gRPC status and retry rule.
    const fn row(self) -> (u16, tonic::Code, Retry) {
        use tonic::Code;
        match self {
            Self::InvalidRequest => (400, Code::InvalidArgument, Retry::Never),
            Self::CasMismatch => (400, Code::FailedPrecondition, Retry::Never),
            Self::PermissionDenied => (403, Code::PermissionDenied, Retry::Never),
            Self::NotFound => (404, Code::NotFound, Retry::Never),
            Self::UnsupportedOperation => (405, Code::Unimplemented, Retry::Never),
            Self::Conflict => (409, Code::Aborted, Retry::Never),
            Self::TooLarge => (413, Code::OutOfRange, Retry::Never),
            Self::UnsupportedMediaType => (415, Code::InvalidArgument, Retry::Never),
            Self::Busy => (429, Code::ResourceExhausted, Retry::Safe),
            Self::NotInitialized => (501, Code::FailedPrecondition, Retry::Never),
            Self::Sealed => (503, Code::Unavailable, Retry::Safe),
            Self::NoLeader => (503, Code::Unavailable, Retry::Safe),
            Self::Unavailable => (503, Code::Unavailable, Retry::Safe),
            Self::OutcomeUnknown => (503, Code::Unknown, Retry::WithRequestId),
            Self::DeadlineExceeded => (503, Code::DeadlineExceeded, Retry::Safe),
            Self::Quarantined => (503, Code::Unavailable, Retry::Safe),
            Self::Internal => (500, Code::Internal, Retry::WithRequestId),
            Self::SessionUnknown => (409, Code::FailedPrecondition, Retry::Never),
            Self::DiskFull => (507, Code::ResourceExhausted, Retry::Safe),
        }
    }

    /// The HTTP status that carries this error.
    pub const fn http_status(self) -> u16 {
        self.row().0
    }

    /// The gRPC status that carries this error.
    pub const fn grpc_code(self) -> tonic::Code {
        self.row().1
    }

    /// What a client may do about it.
    pub const fn retry(self) -> Retry {
        self.row().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code as u32), Some(code));
        }
        assert_eq!(ErrorCode::from_wire(0), None);
        assert_eq!(ErrorCode::from_wire(20), None);
    }

    #[test]
    fn no_client_error_is_retried_and_no_server_error_is_final() {
        for code in ErrorCode::ALL {
            let client_fault = (400..429).contains(&code.http_status());
            assert!(!client_fault || code.retry() == Retry::Never, "{code:?}");
        }
    }
}

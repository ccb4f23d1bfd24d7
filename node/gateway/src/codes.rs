//! Between the core's error codes and the contract's. The core does not know the contract, and both
//! doors and the way to the leader need the same mapping.

use conclave_core as core;
use conclave_proto::ErrorCode;

/// The contract's number for the core's error.
pub const fn wire_code(code: core::ErrorCode) -> ErrorCode {
    use core::ErrorCode as Core;
    match code {
        Core::InvalidRequest => ErrorCode::InvalidRequest,
        Core::CasMismatch => ErrorCode::CasMismatch,
        Core::PermissionDenied => ErrorCode::PermissionDenied,
        Core::NotFound => ErrorCode::NotFound,
        Core::UnsupportedOperation => ErrorCode::UnsupportedOperation,
        Core::Conflict => ErrorCode::Conflict,
        Core::TooLarge => ErrorCode::TooLarge,
        Core::Busy => ErrorCode::Busy,
        Core::NotInitialized => ErrorCode::NotInitialized,
        Core::Sealed => ErrorCode::Sealed,
        Core::NoLeader => ErrorCode::NoLeader,
        Core::Unavailable => ErrorCode::Unavailable,
        Core::OutcomeUnknown => ErrorCode::OutcomeUnknown,
        Core::DeadlineExceeded => ErrorCode::DeadlineExceeded,
        Core::Quarantined => ErrorCode::Quarantined,
        Core::Internal => ErrorCode::Internal,
        Core::SessionUnknown => ErrorCode::SessionUnknown,
        Core::DiskFull => ErrorCode::DiskFull,
    }
}

/// The core's error for the contract's number. A media type is the gateway's own concern: the core
/// knows it only as a malformed request.
pub const fn from_wire_code(code: ErrorCode) -> core::ErrorCode {
    use core::ErrorCode as Core;
    match code {
        ErrorCode::InvalidRequest | ErrorCode::UnsupportedMediaType => Core::InvalidRequest,
        ErrorCode::CasMismatch => Core::CasMismatch,
        ErrorCode::PermissionDenied => Core::PermissionDenied,
        ErrorCode::NotFound => Core::NotFound,
        ErrorCode::UnsupportedOperation => Core::UnsupportedOperation,
        ErrorCode::Conflict => Core::Conflict,
        ErrorCode::TooLarge => Core::TooLarge,
        ErrorCode::Busy => Core::Busy,
        ErrorCode::NotInitialized => Core::NotInitialized,
        ErrorCode::Sealed => Core::Sealed,
        ErrorCode::NoLeader => Core::NoLeader,
        ErrorCode::Unavailable => Core::Unavailable,
        ErrorCode::OutcomeUnknown => Core::OutcomeUnknown,
        ErrorCode::DeadlineExceeded => Core::DeadlineExceeded,
        ErrorCode::Quarantined => Core::Quarantined,
        ErrorCode::Internal => Core::Internal,
        ErrorCode::SessionUnknown => Core::SessionUnknown,
        ErrorCode::DiskFull => Core::DiskFull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_but_the_media_type_survives_the_way_there_and_back() {
        for code in ErrorCode::ALL.into_iter().filter(|c| *c != ErrorCode::UnsupportedMediaType) {
            assert_eq!(wire_code(from_wire_code(code)), code);
        }
    }
}

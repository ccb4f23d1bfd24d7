//! What the caller is told. The one place where failures below become answers.

use conclave_barrier::BarrierError;
use conclave_barrier::ledger::LedgerError;
use conclave_mount::StorageError;

use crate::{Error, ErrorCode};

/// For every token that does not open the door, whatever the reason: clients compare the text.
pub(crate) fn permission_denied() -> Error {
    Error::new(ErrorCode::PermissionDenied, "permission denied")
}

/// The same for who may know why. Holds what stands in policies, nothing that the caller sent.
pub(crate) fn permission_denied_because(because: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorCode::PermissionDenied, format!("permission denied: {because}"))
}

pub(crate) fn no_handler(path: &str) -> Error {
    Error::new(
        ErrorCode::NotFound,
        format!("no handler for route \"{path}\". route entry not found."),
    )
}

pub(crate) fn unsupported_operation() -> Error {
    Error::new(ErrorCode::UnsupportedOperation, "unsupported operation")
}

/// For what a request cannot carry: the doors have ways of their own for it.
pub(crate) fn not_a_stream() -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        "a backup travels as raw bytes; use the HTTP endpoint, or SaveSnapshot and RestoreSnapshot",
    )
}

pub(crate) fn outcome_unknown() -> Error {
    Error::new(
        ErrorCode::OutcomeUnknown,
        "the request may or may not have been executed; read before you send it again",
    )
}

pub(crate) fn lost_too_many_races() -> Error {
    Error::new(ErrorCode::Busy, "other requests kept changing the same data; try again")
}

pub(crate) fn from_barrier(error: BarrierError) -> Error {
    match error {
        BarrierError::Ledger(error) => from_ledger(error),
        BarrierError::NotInitialized => not_initialized(),
        BarrierError::AlreadyInitialized => {
            Error::invalid("the cluster is initialised already; unseal it instead")
        }
        BarrierError::BadName(why) => Error::invalid(why),
        BarrierError::TooLarge { bytes, bytes_max } => too_large(bytes, bytes_max),
        BarrierError::WrongKey => Error::new(
            ErrorCode::Sealed,
            "the key of this node no longer opens the cluster; unseal the node again",
        ),
        BarrierError::Damaged(detail) => Error::internal(detail),
    }
}

pub(crate) fn from_ledger(error: LedgerError) -> Error {
    let (code, message) = match error {
        LedgerError::NotLeader => {
            (ErrorCode::NoLeader, "no leader could be reached and nothing was executed; try again")
        }
        LedgerError::Busy => (ErrorCode::Busy, "too many requests are waiting; try again later"),
        LedgerError::DiskFull => (
            ErrorCode::DiskFull,
            "the disks of the nodes that could lead are full; reads go on, free space there to write",
        ),
        LedgerError::Unavailable => (
            ErrorCode::Unavailable,
            "no quorum answered and nothing was executed; check that a majority of nodes runs",
        ),
        LedgerError::ViewExpired => (ErrorCode::Busy, "too many reads at old revisions; try again"),
        LedgerError::OutcomeUnknown => return outcome_unknown(),
        LedgerError::TooLarge { bytes, bytes_max } => return too_large(bytes, bytes_max),
        LedgerError::Invalid(why) => return Error::invalid(why),
        LedgerError::Damaged(detail) => return Error::internal(detail),
    };
    Error::new(code, message)
}

/// For an engine that reads or writes its rows: it tells the rest by itself.
pub(crate) fn into_storage_error(error: BarrierError) -> StorageError {
    match error {
        BarrierError::Ledger(LedgerError::ViewExpired | LedgerError::Busy) => StorageError::Busy,
        BarrierError::TooLarge { bytes, bytes_max }
        | BarrierError::Ledger(LedgerError::TooLarge { bytes, bytes_max }) => {
            StorageError::TooLarge { bytes, bytes_max }
        }
        BarrierError::BadName(why) => StorageError::BadName(why),
        other => StorageError::Damaged(other.to_string()),
    }
}

pub(crate) fn not_initialized() -> Error {
    Error::new(ErrorCode::NotInitialized, "the cluster is not initialised; initialise it first")
}

fn too_large(bytes: usize, bytes_max: usize) -> Error {
    Error::new(
        ErrorCode::TooLarge,
        format!(
            "the request writes {bytes} bytes, the limit is {bytes_max}; store less in one secret"
        ),
    )
}

/// Faults of ours are logged here, once: who gets the error next has nothing left to log.
pub(crate) fn log_internal(request_id: &str, mut error: Error) -> Error {
    if let Some(detail) = error.internal.take() {
        tracing::error!(request_id, detail, "a request failed");
    }
    error
}

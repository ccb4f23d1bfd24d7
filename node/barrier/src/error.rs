//! What can go wrong at the line.

use crate::ledger::LedgerError;

/// Why the barrier refused or failed. No variant carries a name, a value or a key.
#[derive(Debug, thiserror::Error)]
pub enum BarrierError {
    /// What lies below the line could not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The key given does not open the root key or the keyring.
    #[error("the key does not open this cluster")]
    WrongKey,
    /// There is no seal record yet.
    #[error("this cluster is not initialised")]
    NotInitialized,
    /// There is a seal record, or at least some data.
    #[error("this cluster is initialised already")]
    AlreadyInitialized,
    /// A record does not open in its place: it was moved, damaged or written under a lost key.
    #[error("a record cannot be opened: {0}")]
    Damaged(String),
    /// An empty, over-long or otherwise impossible name.
    #[error("{0}")]
    BadName(String),
    /// A value above the limit.
    #[error("the value has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
}

/// Shorthand for [`BarrierError::Damaged`].
pub(crate) fn damaged(what: &str) -> BarrierError {
    BarrierError::Damaged(what.to_owned())
}

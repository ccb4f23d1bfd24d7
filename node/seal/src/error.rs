//! What can go wrong on the way to the root key.

/// Why no root key came out. No variant carries a share or a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Shares and threshold out of range, a malformed or repeated share. The text says which.
    #[error("{0}")]
    Invalid(String),
    /// Enough shares, but together they are not the key; progress was reset.
    #[error("the shares given do not open this cluster; the attempt was reset")]
    WrongShares,
    /// A configured key is absent, unreadable or not the cluster's.
    #[error("the seal key cannot be read: {0}")]
    Provider(String),
}

pub(crate) fn invalid<T>(why: &str) -> Result<T, SealError> {
    Err(SealError::Invalid(why.to_owned()))
}

//! Backup files: what `snapshot save` writes and `snapshot restore` takes.
//!
//! ```text
//! gzip( ustar(
//!   meta.json           what it is of: cluster, epoch, log id, membership, keyring term, hash
//!   state.bin           the snapshot file, as the store writes it
//!   SHA256SUMS          of the two above, as `sha256sum --check` reads them
//!   SHA256SUMS.sealed   the signature over SHA256SUMS by the cluster's backup key
//! ) )
//! ```
//!
//! This module owns the file's layout and its verification. Its invariant: **bytes have one reading**.
//! The four members stand in this order with these headers and nothing else beside them, so that what
//! was verified is what is restored. It holds ciphertext and one signing key, never a key of the
//! barrier, and must not know consensus: who proposes what was verified is the node's business.

mod archive;
mod manifest;
mod sign;
mod verify;
mod write;

mod spool;

#[cfg(test)]
pub(crate) mod tests;

pub use manifest::{Manifest, Peer};
pub use sign::{BackupKey, PublicKey};
pub use spool::{Spool, SpoolDir};
pub use verify::{Verified, inspect, verify};
pub use write::{About, BackupWriter};

/// Why a file is no backup to rely on.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The operating system's.
    #[error("{0}; free space or check the disk, and try again")]
    Io(#[from] std::io::Error),
    /// It is not laid out as a backup is.
    #[error("it is no whole backup: {0}; take another copy of the file")]
    Layout(String),
    /// What it holds is not what was signed.
    #[error("it was changed: {0}; take another copy of the file")]
    Changed(String),
    /// Another key signed it.
    #[error(
        "it was signed by the key {found}, not by {wanted}: it is of another cluster, or a forgery"
    )]
    OtherKey {
        /// That did sign it.
        found: PublicKey,
        /// That was to have signed it.
        wanted: PublicKey,
    },
    /// The state inside is damaged.
    #[error("its state is damaged: {0}")]
    State(#[from] conclave_store::snapshot::SnapshotError),
}

pub(crate) fn layout(what: impl Into<String>) -> BackupError {
    BackupError::Layout(what.into())
}

pub(crate) fn changed(what: impl Into<String>) -> BackupError {
    BackupError::Changed(what.into())
}

//! Certificates and TLS: a node's own identity, the cluster's authority, what peers accept of each
//! other, and the public certificate.
//!
//! Invariant: between nodes a *pin* is what is trusted, the SHA-256 of a public key that stands in
//! the replicated membership. Chains and expiry decide nothing there, so a cluster whose nodes are
//! all sealed, or whose clocks are wrong, never locks itself out. The possession of the key is
//! proven in every handshake; sessions are never resumed.

mod authority;
mod dev;
mod identity;
mod peer;
mod pin;
mod public;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

pub(crate) use authority::request_pin;
pub use authority::{CaCertificate, ClusterCa};
pub use dev::{DevCa, DevCertificate, make_dev_ca, sign_dev_server};
pub use identity::NodeIdentity;
pub use peer::{Expect, peer_client_config, peer_server_config};
pub use pin::SpkiPin;
pub use public::PublicTls;

/// Why something about certificates failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot access the TLS file {path}; check that it exists and who may read it")]
    File {
        /// Which.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable {what}; replace it by a PEM file that does")]
    Content {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// A certificate and a key do not belong together.
    #[error("the certificate and the private key do not belong together ({0}); renew both")]
    Mismatch(String),
    /// Bytes that should be a certificate are none.
    #[error("a certificate cannot be read ({0}); the peer must send a valid one")]
    Certificate(String),
    /// A certificate was not signed by the cluster's authority.
    #[error("a certificate is not of this cluster ({0}); join the node anew")]
    Foreign(String),
    /// A certificate request cannot be used.
    #[error("a certificate request was refused ({0}); the joining node must make a new one")]
    Request(String),
    /// A key or certificate could not be made.
    #[error("a key or certificate could not be made ({0}); try again")]
    Make(String),
    /// TLS could not be configured.
    #[error("TLS could not be configured ({0}); this is a bug")]
    Configuration(String),
}

impl TlsError {
    /// For what the operating system said about `path`.
    fn of_file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

impl From<rcgen::Error> for TlsError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error.to_string())
    }
}

/// All of `path`, wiped when dropped.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    std::fs::read(path).map(Zeroizing::new).map_err(TlsError::of_file(path))
}

/// As [`read_file`], and `None` where no such file exists.
fn read_if_there(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, TlsError> {
    match read_file(path) {
        Err(TlsError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The one provider of TLS cryptography; it offers X25519MLKEM768 first.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

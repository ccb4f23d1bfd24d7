//! The public listener's certificate: from files that can be replaced while the node runs, or one
//! made at start.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{TlsError, dev, provider, read_file};
use crate::config::{TlsFiles, TlsVersion};

/// A certificate that new connections present; [`PublicTls::reload`] replaces it.
pub struct PublicTls {
    source: Source,
    current: RwLock<Arc<CertifiedKey>>,
}

enum Source {
    Files(TlsFiles),
    /// Made at start, and PEM of it for who wants to trust it.
    Made(String),
}

impl PublicTls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(read(files)?);
        Ok(Arc::new(Self { source: Source::Files(files.clone()), current }))
    }

    /// Makes a certificate for `names` that signs itself.
    ///
    /// # Errors
    /// [`TlsError::Make`] where a name is not valid.
    pub fn make(names: &[String]) -> Result<Arc<Self>, TlsError> {
        let made = dev::make_self_signed_server(names)?;
        let key = certified(made.certificate_pem.as_bytes(), made.key_pem.as_bytes())
            .map_err(|what| TlsError::Make(what.to_owned()))?;
        Ok(Arc::new(Self { source: Source::Made(made.certificate_pem), current: RwLock::new(key) }))
    }

    /// PEM of the certificate this process made, `None` where it came from files.
    #[must_use]
    pub fn made_certificate_pem(&self) -> Option<&str> {
        match &self.source {
            Source::Files(_) => None,
            Source::Made(pem) => Some(pem),
        }
    }

    /// Reads the files again. New connections get what they hold now; without files nothing
    /// happens.
    ///
    /// # Errors
    /// [`TlsError`], which names the file; the certificate read before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        if let Source::Files(files) = &self.source {
            let fresh = read(files)?;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        Ok(())
    }

    /// How the public listener shakes hands: HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] where the provider lacks a version.
    pub fn server_config(self: &Arc<Self>, min: TlsVersion) -> Result<Arc<ServerConfig>, TlsError> {
        let versions: &[_] = match min {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::Configuration(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for PublicTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicTls").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for PublicTls {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(paths: &TlsFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificate = read_file(&paths.certificate)?;
    let key = read_file(&paths.key)?;
    certified(&certificate, &key).map_err(|what| match what {
        CERTIFICATE => TlsError::Content { path: paths.certificate.clone(), what },
        KEY => TlsError::Content { path: paths.key.clone(), what },
        _ => TlsError::Mismatch(paths.certificate.display().to_string()),
    })
}

/// Chain and key, or the name of what is wrong.
fn certified(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<CertifiedKey>, &'static str> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|_| CERTIFICATE)?;
    if chain.is_empty() {
        return Err(CERTIFICATE);
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| KEY)?;
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|_| "pair")
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "private key";

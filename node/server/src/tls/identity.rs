//! A node's own key pair, made at its first start and kept outside the barrier: a sealed node must
//! be able to speak to its peers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::{CaCertificate, SpkiPin, TlsError, authority, read_if_there};
use crate::files;

/// The node's key, its certificate (self-signed until the cluster's authority signs the key) and
/// the authority's certificate once there is one.
pub struct NodeIdentity {
    directory: PathBuf,
    key: KeyPair,
    pin: SpkiPin,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    certified: Arc<CertifiedKey>,
    authority: Option<CaCertificate>,
}

impl NodeIdentity {
    /// Reads `tls/node.key`, `tls/node.crt` and `tls/ca.crt` below the data directory, or makes a
    /// new key with a self-signed certificate where there is none yet.
    ///
    /// # Errors
    /// [`TlsError`] where a file is unreadable, or does not belong to the others.
    pub fn load_or_make(data_directory: &Path, node_name: &str) -> Result<Arc<Self>, TlsError> {
        let directory = data_directory.join("tls");
        files::restrict_dir(&directory).map_err(TlsError::of_file(&directory))?;
        let key = load_or_make_key(&directory.join(KEY_FILE))?;
        let pin = SpkiPin::of_spki(&key.subject_public_key_info());
        let (certificate_file, ca_file) =
            (directory.join(CERTIFICATE_FILE), directory.join(CA_FILE));
        let certificate = match read_certificate(&certificate_file)? {
            Some(certificate) => certificate,
            None => make_self_signed(&directory, &key, node_name)?,
        };
        let authority = read_certificate(&ca_file)?
            .map(|der| CaCertificate::from_der(&der))
            .transpose()
            .map_err(in_file(&ca_file))?;
        let certified = certify(&key, pin, certificate).map_err(in_file(&certificate_file))?;
        let current = RwLock::new(Current { certified, authority });
        Ok(Arc::new(Self { directory, key, pin, current }))
    }

    /// What peers know this node by.
    #[must_use]
    pub fn pin(&self) -> SpkiPin {
        self.pin
    }

    /// The cluster's authority, once this node belongs to a cluster.
    #[must_use]
    pub fn authority(&self) -> Option<CaCertificate> {
        self.current().authority
    }

    /// The node id that the cluster's authority signed this node's key for; none before it did.
    #[must_use]
    pub fn signed_for(&self) -> Option<u64> {
        let current = self.current();
        current.authority?.node_id_of(current.certified.end_entity_cert().ok()?).ok()
    }

    /// The node of this node's own cluster that the authority signed `certificate` for.
    #[must_use]
    pub fn fellow(&self, certificate: &CertificateDer<'_>) -> Option<u64> {
        let current = self.current();
        let authority = current.authority?;
        let (_, own) = authority.node_of(current.certified.end_entity_cert().ok()?).ok()?;
        let (node_id, cluster) = authority.node_of(certificate).ok()?;
        (cluster == own).then_some(node_id)
    }

    /// A PKCS#10 request for this node's key, DER.
    ///
    /// # Errors
    /// [`TlsError::Make`] where signing fails.
    pub fn make_csr(&self, node_name: &str) -> Result<Vec<u8>, TlsError> {
        let mut params = rcgen::CertificateParams::new(Vec::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, node_name);
        Ok(params.serialize_request(&self.key)?.der().to_vec())
    }

    /// Takes the certificate that the cluster's authority signed for this node's key, and the
    /// authority's own; new connections present it. The authority's file is written last, so a
    /// crash between the two leaves a node that joins again.
    ///
    /// # Errors
    /// [`TlsError`] where the certificate is another key's or another authority's, or a file
    /// cannot be written.
    pub fn install(&self, certificate: &[u8], ca_certificate: &[u8]) -> Result<(), TlsError> {
        let authority = CaCertificate::from_der(ca_certificate)?;
        let certificate = CertificateDer::from(certificate.to_vec());
        authority.node_id_of(&certificate)?;
        let certified = certify(&self.key, self.pin, certificate.clone())?;
        write_certificate(&self.directory.join(CERTIFICATE_FILE), &certificate)?;
        write_certificate(&self.directory.join(CA_FILE), ca_certificate)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Current { certified, authority: Some(authority) };
        Ok(())
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for NodeIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified)
    }
}

impl ResolvesClientCert for NodeIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn load_or_make_key(path: &Path) -> Result<KeyPair, TlsError> {
    let Some(pem) = read_if_there(path)? else {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let pem = Zeroizing::new(key.serialize_pem());
        files::replace(path, pem.as_bytes()).map_err(TlsError::of_file(path))?;
        return Ok(key);
    };
    let unusable = || TlsError::Content { path: path.to_owned(), what: "private key" };
    let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| unusable())?;
    authority::key_pair(der.secret_pkcs8_der()).map_err(|_| unusable())
}

fn make_self_signed(
    directory: &Path,
    key: &KeyPair,
    node_name: &str,
) -> Result<CertificateDer<'static>, TlsError> {
    let certificate = authority::long_lived(node_name)?.self_signed(key)?.der().clone();
    write_certificate(&directory.join(CERTIFICATE_FILE), &certificate)?;
    Ok(certificate)
}

fn read_certificate(path: &Path) -> Result<Option<CertificateDer<'static>>, TlsError> {
    let Some(pem) = read_if_there(path)? else { return Ok(None) };
    CertificateDer::from_pem_slice(&pem)
        .map(Some)
        .map_err(|_| TlsError::Content { path: path.to_owned(), what: "certificate" })
}

/// Names the file whose content was refused: nobody sent it.
fn in_file(path: &Path) -> impl FnOnce(TlsError) -> TlsError {
    move |error| match error {
        TlsError::Certificate(_) | TlsError::Foreign(_) => {
            TlsError::Content { path: path.to_owned(), what: "certificate" }
        }
        TlsError::Mismatch(why) => TlsError::Mismatch(format!("{}: {why}", path.display())),
        other => other,
    }
}

fn write_certificate(path: &Path, der: &[u8]) -> Result<(), TlsError> {
    let pem = super::dev::certificate_pem(der);
    files::replace(path, pem.as_bytes()).map_err(TlsError::of_file(path))
}

/// Puts certificate and key together, after checking that they belong together.
fn certify(
    key: &KeyPair,
    pin: SpkiPin,
    certificate: CertificateDer<'static>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    if SpkiPin::of_certificate(&certificate)? != pin {
        return Err(TlsError::Mismatch("the certificate is for another key".to_owned()));
    }
    let der = PrivatePkcs8KeyDer::from(key.serialize_der());
    CertifiedKey::from_der(vec![certificate], der.into(), &super::provider())
        .map(Arc::new)
        .map_err(|error| TlsError::Mismatch(error.to_string()))
}

const KEY_FILE: &str = "node.key";
const CERTIFICATE_FILE: &str = "node.crt";
const CA_FILE: &str = "ca.crt";

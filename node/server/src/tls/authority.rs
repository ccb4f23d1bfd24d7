//! The cluster's certificate authority: its key lives behind the barrier, its certificate with
//! every node.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
};
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::Zeroizing;

use super::{SpkiPin, TlsError};

/// The authority with its key: it exists in memory only while a node is unsealed.
pub struct ClusterCa {
    certificate: CertificateDer<'static>,
    key: Zeroizing<Vec<u8>>,
}

impl ClusterCa {
    /// Makes the authority of a new cluster.
    ///
    /// # Errors
    /// [`TlsError::Make`] where the random source or the key generator fails.
    pub fn make(cluster_id: &[u8]) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = long_lived(&format!("conclave {}", hex::encode(cluster_id)))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { certificate, key: Zeroizing::new(key.serialize_der()) })
    }

    /// The authority from what [`ClusterCa::certificate_der`] and [`ClusterCa::key_der`] gave.
    ///
    /// # Errors
    /// [`TlsError`] where the bytes are no key or no certificate.
    pub fn from_parts(certificate: &[u8], key: Zeroizing<Vec<u8>>) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from(certificate.to_vec());
        let pair = key_pair(&key)?;
        let pin = SpkiPin::of_certificate(&certificate)?;
        if pin != SpkiPin::of_spki(&pair.subject_public_key_info()) {
            return Err(TlsError::Mismatch("the authority's".to_owned()));
        }
        Ok(Self { certificate, key })
    }

    /// Public.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// PKCS#8, DER. Secret: to be stored behind the barrier only.
    #[must_use]
    pub fn key_der(&self) -> &Zeroizing<Vec<u8>> {
        &self.key
    }

    /// Signs the key in a PKCS#10 request as the one of node `node_id`. Of the request only the
    /// key is taken, and only if it proves that it holds the private half; every name in the
    /// certificate is the caller's.
    ///
    /// # Errors
    /// [`TlsError::Request`] where the request is malformed or its signature wrong.
    pub fn sign(
        &self,
        csr: &[u8],
        node_id: u64,
        node_name: &str,
        cluster_id: &[u8],
    ) -> Result<Vec<u8>, TlsError> {
        let mut request = read_request(csr)?;
        request.params = long_lived(node_name)?;
        request.params.subject_alt_names = vec![node_san(node_id, cluster_id)?];
        request.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let issuer = Issuer::from_ca_cert_der(&self.certificate, key_pair(&self.key)?)?;
        Ok(request.signed_by(&issuer)?.der().to_vec())
    }
}

/// The pin of the key in a PKCS#10 request whose signature is right.
///
/// # Errors
/// [`TlsError::Request`] where the request is malformed or its signature wrong.
pub(crate) fn request_pin(csr: &[u8]) -> Result<SpkiPin, TlsError> {
    Ok(SpkiPin::of_spki(&read_request(csr)?.public_key.subject_public_key_info()))
}

fn read_request(csr: &[u8]) -> Result<CertificateSigningRequestParams, TlsError> {
    if csr.len() > CSR_BYTES_MAX {
        return Err(TlsError::Request(format!("it has more than {CSR_BYTES_MAX} bytes")));
    }
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
        .map_err(|error| TlsError::Request(error.to_string()))
}

/// The authority's certificate: it tells whether a stranger once was let into this cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate(CertificateDer<'static>);

impl CaCertificate {
    /// From DER.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] where the bytes are no certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from(der.to_vec());
        anchor_from_trusted_cert(&certificate)
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        Ok(Self(certificate))
    }

    /// DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// The node id that the authority signed `certificate` for. Time plays no part: the check
    /// uses an instant inside the validity of every certificate made here.
    ///
    /// # Errors
    /// [`TlsError::Foreign`] where the signature is another's or names no node.
    pub fn node_id_of(&self, certificate: &CertificateDer<'_>) -> Result<u64, TlsError> {
        Ok(self.node_of(certificate)?.0)
    }

    /// As [`Self::node_id_of`], with the cluster that the certificate names, in hex: after the
    /// restore of another cluster's backup two clusters have one authority.
    pub(super) fn node_of(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> Result<(u64, String), TlsError> {
        let foreign = |error: webpki::Error| TlsError::Foreign(error.to_string());
        let parsed = EndEntityCert::try_from(certificate).map_err(foreign)?;
        let anchor = anchor_from_trusted_cert(&self.0).map_err(foreign)?;
        parsed
            .verify_for_usage(
                super::provider().signature_verification_algorithms.all,
                &[anchor],
                &[],
                UnixTime::since_unix_epoch(CHECK_TIME),
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(foreign)?;
        parsed
            .valid_dns_names()
            .find_map(parse_node_san)
            .ok_or_else(|| TlsError::Foreign("it names no node".to_owned()))
    }
}

/// `node-<id>.<cluster id in hex>.conclave.internal`: made from numbers only, so that no name an
/// operator chooses can look like another node's.
fn node_san(node_id: u64, cluster_id: &[u8]) -> Result<SanType, TlsError> {
    let name = format!("node-{node_id}.{}{SAN_SUFFIX}", hex::encode(cluster_id));
    Ok(SanType::DnsName(name.try_into()?))
}

fn parse_node_san(name: &str) -> Option<(u64, String)> {
    let (first, cluster) = name.strip_suffix(SAN_SUFFIX)?.split_once('.')?;
    Some((first.strip_prefix("node-")?.parse().ok()?, cluster.to_owned()))
}

/// A subject that is valid from long before any clock to long after any node.
pub(super) fn long_lived(common_name: &str) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    Ok(params)
}

pub(super) fn key_pair(pkcs8: &[u8]) -> Result<KeyPair, TlsError> {
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8))
        .map_err(|_| TlsError::Mismatch("a private key cannot be read".to_owned()))
}

const SAN_SUFFIX: &str = ".conclave.internal";
/// 2026-01-01, inside what [`long_lived`] sets.
const CHECK_TIME: Duration = Duration::from_secs(1_767_225_600);
const CSR_BYTES_MAX: usize = 4096;

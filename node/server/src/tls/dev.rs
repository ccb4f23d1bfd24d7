//! Throw-away authorities for `conclaved dev` and tests, and PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use zeroize::Zeroizing;

use super::{TlsError, authority};

/// An authority whose certificate clients of a dev cluster trust.
pub struct DevCa {
    /// For clients: `CONCLAVE_CACERT`.
    pub certificate_pem: String,
    params: CertificateParams,
    key: KeyPair,
}

/// A public certificate with its key.
pub struct DevCertificate {
    /// PEM.
    pub certificate_pem: String,
    /// PEM, secret.
    pub key_pem: Zeroizing<String>,
}

/// Makes a throw-away authority.
///
/// # Errors
/// [`TlsError::Make`] where the random source or the key generator fails.
pub fn make_dev_ca() -> Result<DevCa, TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = authority::long_lived("conclave dev")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate_pem = params.self_signed(&key)?.pem();
    Ok(DevCa { certificate_pem, params, key })
}

/// Makes a server certificate for `names` (host names or addresses), signed by `ca`.
///
/// # Errors
/// [`TlsError::Make`] where a name is not valid or signing fails.
pub fn sign_dev_server(ca: &DevCa, names: &[String]) -> Result<DevCertificate, TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let issuer = Issuer::from_params(&ca.params, &ca.key);
    let certificate_pem = server_params(names)?.signed_by(&key, &issuer)?.pem();
    Ok(DevCertificate { certificate_pem, key_pem: Zeroizing::new(key.serialize_pem()) })
}

/// Makes a server certificate for `names` that signs itself.
pub(super) fn make_self_signed_server(names: &[String]) -> Result<DevCertificate, TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate_pem = server_params(names)?.self_signed(&key)?.pem();
    Ok(DevCertificate { certificate_pem, key_pem: Zeroizing::new(key.serialize_pem()) })
}

fn server_params(names: &[String]) -> Result<CertificateParams, TlsError> {
    let named = CertificateParams::new(names.to_vec())?;
    let mut params = authority::long_lived("conclave")?;
    params.subject_alt_names = named.subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// A certificate's DER as PEM.
pub(super) fn certificate_pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

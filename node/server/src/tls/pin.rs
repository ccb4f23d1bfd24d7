//! What nodes trust of each other: the hash of a public key.

use std::fmt;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::TlsError;

/// SHA-256 over a certificate's SubjectPublicKeyInfo, DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpkiPin([u8; 32]);

impl SpkiPin {
    /// The pin of a certificate's key.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] where the bytes are no certificate.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let parsed = EndEntityCert::try_from(certificate)
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        Ok(Self::of_spki(&parsed.subject_public_key_info()))
    }

    /// The pin of a SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn of_spki(spki: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, spki);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// As the membership stores it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As the membership stores it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

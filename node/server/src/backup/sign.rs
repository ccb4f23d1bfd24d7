//! The signature of a backup.
//!
//! ```text
//! signature  = Ed25519(seed, len(domain) u64 ‖ domain ‖ len(sums) u64 ‖ sums)        (RFC 8032)
//!              domain = "conclave v1 backup", sums = the bytes of SHA256SUMS, lengths big-endian
//! sealed     = "conclave-backup-1 " ‖ hex(public key) ‖ " " ‖ hex(signature) ‖ "\n"
//! ```
//!
//! The seed is made with the cluster and lives behind the barrier; the public key is what people pin.
//! It stands in the file for whoever wants to see who signed, and proves nothing by that.

use std::fmt;
use std::str::FromStr;

use conclave_ports::Ports;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::{BackupError, changed, layout};

/// Signs a cluster's backups. It has no `Debug`.
pub struct BackupKey(Ed25519KeyPair);

/// Verifies a cluster's backups. Its text is 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl BackupKey {
    /// The seed of a new key.
    #[must_use]
    pub fn make_seed(ports: &Ports) -> Zeroizing<Vec<u8>> {
        let mut seed = Zeroizing::new(vec![0; 32]);
        ports.rng.fill(&mut seed);
        seed
    }

    /// The key of this seed; `None` where it has not 32 bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// What verifies it.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes"))
    }

    /// The content of `SHA256SUMS.sealed`.
    pub(super) fn seal(&self, sums: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&message(sums));
        format!("{WORD} {} {}\n", self.public(), hex::encode(signature)).into_bytes()
    }
}

/// The key that made `sealed` for these sums.
pub(super) fn signer(sealed: &[u8], sums: &[u8]) -> Result<PublicKey, BackupError> {
    let text = std::str::from_utf8(sealed).ok().and_then(|text| text.strip_suffix('\n'));
    let mut words = text.unwrap_or_default().split(' ');
    let parts = (words.next(), words.next(), words.next(), words.next());
    let (Some(WORD), Some(key), Some(signature), None) = parts else {
        return Err(layout("its signature is not what this version writes"));
    };
    let key: PublicKey = key.parse().map_err(layout)?;
    let signature = hex::decode(signature).map_err(|_| layout("its signature is not hex"))?;
    UnparsedPublicKey::new(&ED25519, key.0)
        .verify(&message(sums), &signature)
        .map_err(|_| changed("the signature is wrong"))?;
    Ok(key)
}

fn message(sums: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(64 + sums.len());
    for part in [DOMAIN, sums] {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a backup key has 64 hexadecimal digits; `conclave operator members` shows it";
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let bytes = hex::decode(text).ok().filter(|_| is_lower).ok_or(wrong)?;
        bytes.try_into().map(Self).map_err(|_| wrong)
    }
}

impl PublicKey {
    /// From 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

const DOMAIN: &[u8] = b"conclave v1 backup";
const WORD: &str = "conclave-backup-1";
pub(super) const BYTES_MAX: u64 = 512;

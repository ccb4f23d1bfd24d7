//! Peer unseal: the root key on its way from an unsealed leader to a member.
//!
//! ```text
//! HPKE (RFC 9180, base mode), DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM
//! info = m("conclave peer unseal v1", cluster id, boot id, giver's node id, taker's node id)
//! m    = each part after its length, 32 bits, big-endian; node ids are 8 bytes, big-endian
//! ```
//!
//! The taker's key is made for one request and lives in its memory only: a recording of the TLS
//! session, opened later, does not give the root key. HPKE's base mode does not say who sealed;
//! the pinned TLS session under it does.

use conclave_proto::v1;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use super::proof::length_prefixed;

/// What the sealed key is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsealPlace {
    /// The cluster's.
    pub cluster_id: Vec<u8>,
    /// The taker's: one answer serves one boot.
    pub boot_id: [u8; 16],
    /// The leader that gives the key.
    pub giver: u64,
    /// The member that takes it.
    pub taker: u64,
}

impl UnsealPlace {
    fn info(&self) -> Vec<u8> {
        let (giver, taker) = (self.giver.to_be_bytes(), self.taker.to_be_bytes());
        let parts: [&[u8]; 5] = [DOMAIN, &self.cluster_id, &self.boot_id, &giver, &taker];
        length_prefixed(parts.into_iter())
    }
}

/// The root key could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// The taker's public key is unusable.
    #[error("the public key of the peer that asks is not usable; it must ask again")]
    PublicKey,
    /// What arrived was not sealed to this key for this place.
    #[error("the sealed root key cannot be opened here; ask the leader again")]
    Open,
    /// The random source failed.
    #[error("no key could be made for peer unseal; try again")]
    Make,
}

/// A key for one answer.
pub struct UnsealKey {
    public: Vec<u8>,
    private: HpkePrivateKey,
}

impl UnsealKey {
    /// Makes a fresh key.
    ///
    /// # Errors
    /// [`UnsealError::Make`] where the random source fails.
    pub fn make() -> Result<Self, UnsealError> {
        let (public, private) = SUITE.generate_key_pair().map_err(|_| UnsealError::Make)?;
        Ok(Self { public: public.0, private })
    }

    /// Goes into the request.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Opens the answer.
    ///
    /// # Errors
    /// [`UnsealError::Open`] where the answer is for another key or place, or was changed.
    pub fn open(
        &self,
        place: &UnsealPlace,
        reply: &v1::PeerUnsealReply,
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let encapsulated = EncapsulatedSecret(reply.encapsulated.to_vec());
        SUITE
            .open(&encapsulated, &place.info(), &[], &reply.ciphertext, &self.private)
            .map(Zeroizing::new)
            .map_err(|_| UnsealError::Open)
    }
}

/// Seals the root key to the public key of a request. **The caller has checked that the taker is a
/// member that may have it.**
///
/// # Errors
/// [`UnsealError::PublicKey`] where the key is not one of X25519.
pub fn seal_root_key(
    place: &UnsealPlace,
    public: &[u8],
    root_key: &[u8],
) -> Result<v1::PeerUnsealReply, UnsealError> {
    if public.len() != PUBLIC_BYTES {
        return Err(UnsealError::PublicKey);
    }
    let (encapsulated, ciphertext) = SUITE
        .seal(&place.info(), &[], root_key, &HpkePublicKey(public.to_vec()))
        .map_err(|_| UnsealError::PublicKey)?;
    Ok(v1::PeerUnsealReply { encapsulated: encapsulated.0.into(), ciphertext: ciphertext.into() })
}

const DOMAIN: &[u8] = b"conclave peer unseal v1";
const PUBLIC_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> UnsealPlace {
        UnsealPlace { cluster_id: vec![1; 16], boot_id: [2; 16], giver: 3, taker: 4 }
    }

    #[test]
    fn the_taker_opens_what_was_sealed_to_it() {
        let key = UnsealKey::make().expect("a key");
        let reply = seal_root_key(&place(), key.public(), b"root key").expect("a valid key");
        assert!(!reply.ciphertext.windows(8).any(|window| window == b"root key"));
        assert_eq!(key.open(&place(), &reply).expect("it is for us").as_slice(), b"root key");
    }

    #[test]
    fn another_place_or_key_does_not_open_it() {
        for other in [
            UnsealPlace { cluster_id: vec![9; 16], ..place() },
            UnsealPlace { boot_id: [9; 16], ..place() },
            UnsealPlace { giver: 4, taker: 3, ..place() },
        ] {
            let key = UnsealKey::make().expect("a key");
            let reply = seal_root_key(&place(), key.public(), b"root key").expect("a valid key");
            assert!(matches!(key.open(&other, &reply), Err(UnsealError::Open)), "{other:?}");
        }
        let (key, another) = (UnsealKey::make().expect("a key"), UnsealKey::make().expect("a key"));
        let reply = seal_root_key(&place(), key.public(), b"root key").expect("a valid key");
        assert!(matches!(another.open(&place(), &reply), Err(UnsealError::Open)));
    }

    #[test]
    fn bad_bytes_are_errors() {
        assert!(matches!(seal_root_key(&place(), b"short", b"k"), Err(UnsealError::PublicKey)));
        for reply in [
            v1::PeerUnsealReply::default(),
            v1::PeerUnsealReply {
                encapsulated: vec![0; 32].into(),
                ciphertext: vec![0; 40].into(),
            },
        ] {
            let key = UnsealKey::make().expect("a key");
            assert!(matches!(key.open(&place(), &reply), Err(UnsealError::Open)));
        }
    }
}

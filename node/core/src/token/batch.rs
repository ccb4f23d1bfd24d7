//! Batch tokens: nothing is stored, the token itself is its record, sealed.
//!
//! ```text
//! hvb.<base64url of: 32 random bytes ‖ AES-256-GCM under HMAC-SHA-256(cluster key, those 32 bytes)>
//! ```
//!
//! Every token has a key of its own, so that no count of messages is needed and the nonce can be
//! constant: a random salt of 32 bytes never comes twice.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_barrier::{Barrier, HashPurpose};
use conclave_ports::Ports;
use prost::Message;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::BATCH_TEXT_BYTES_MAX;
use super::record::{Kind, TokenRecord};
use crate::Error;

const PREFIX: &str = "hvb.";
const SALT_BYTES: usize = 32;
/// Part of what is authenticated: another format would have another name.
const FORMAT: &[u8] = b"conclave batch token 1";

/// The text that carries this record.
pub(super) fn seal(
    barrier: &Barrier,
    ports: &Ports,
    record: &TokenRecord,
) -> Result<Zeroizing<String>, Error> {
    let salt: [u8; SALT_BYTES] = ports.random();
    let mut sealed = Zeroizing::new(record.encode_to_vec());
    key(barrier, &salt)
        .seal_in_place_append_tag(nonce(), Aad::from(FORMAT), &mut *sealed)
        .map_err(|_| Error::internal("a batch token cannot be sealed"))?;
    let bytes = [salt.as_slice(), sealed.as_slice()].concat();
    let text = Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)));
    if text.len() > BATCH_TEXT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the batch token would have {} bytes, the limit is {BATCH_TEXT_BYTES_MAX}; give it \
             fewer policies and less metadata, or make a service token",
            text.len()
        )));
    }
    Ok(text)
}

/// The record in a text; `None` for whatever this cluster has not sealed.
pub(super) fn open(barrier: &Barrier, text: &str) -> Option<TokenRecord> {
    let text = text.strip_prefix(PREFIX)?;
    if text.len() > BATCH_TEXT_BYTES_MAX {
        return None;
    }
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    let (salt, sealed) = bytes.split_at_checked(SALT_BYTES)?;
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let plain = key(barrier, salt).open_in_place(nonce(), Aad::from(FORMAT), &mut sealed).ok()?;
    let record = TokenRecord::decode(&*plain).ok()?;
    (record.kind() == Kind::Batch).then_some(record)
}

fn key(barrier: &Barrier, salt: &[u8]) -> LessSafeKey {
    let key = Zeroizing::new(barrier.keyed_hash(HashPurpose::BatchToken, salt));
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("a keyed hash has 32 bytes"))
}

/// Each key seals one message.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn record() -> TokenRecord {
        TokenRecord {
            policies: vec!["p".into()],
            kind: Kind::Batch as i32,
            expires_ms: 5,
            ..TokenRecord::default()
        }
    }

    /// THREATS row 30: a forged blob.
    #[test]
    fn row_030_no_bit_of_a_batch_token_can_be_changed() {
        let bench = Bench::new();
        let text = seal(&bench.barrier, &bench.ports, &record()).unwrap();
        assert_eq!(open(&bench.barrier, &text), Some(record()));
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX).unwrap()).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[at / 8] ^= 1 << (at % 8);
            let forged = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(forged));
            assert_eq!(open(&bench.barrier, &forged), None, "bit {at}");
        }
        for length in 0..text.len() {
            assert_eq!(open(&bench.barrier, &text[..length]), None, "{length} bytes of it");
        }
    }

    #[test]
    fn no_two_batch_tokens_are_the_same_and_none_is_too_long() {
        let bench = Bench::new();
        let make = |record: &TokenRecord| seal(&bench.barrier, &bench.ports, record);
        assert_ne!(make(&record()).unwrap(), make(&record()).unwrap());
        let long = TokenRecord { display_name: "x".repeat(BATCH_TEXT_BYTES_MAX), ..record() };
        assert!(make(&long).is_err());
    }
}

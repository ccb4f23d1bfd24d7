//! HKDF: one secret, many keys, each with its own label.

use conclave_memory::SecretKey;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};

use crate::aead::push_field;

/// `K = HKDF-Expand(HKDF-Extract(salt = cluster id, IKM = secret), info = label ‖ context, N)` with
/// SHA-256 (RFC 5869), label and context length-prefixed.
///
/// The cluster id as salt makes the same static key, used for two clusters by mistake, two keys.
pub(crate) fn derive_key<const N: usize>(
    secret: &SecretKey<32>,
    cluster_id: &[u8; 16],
    label: &str,
    context: &[&[u8]],
) -> SecretKey<N> {
    let mut info = Vec::new();
    push_field(&mut info, label.as_bytes());
    for field in context {
        push_field(&mut info, field);
    }
    let info = [info.as_slice()];
    let pseudorandom = Salt::new(HKDF_SHA256, cluster_id).extract(secret.expose());
    let okm = pseudorandom.expand(&info, Length(N)).expect("N is below 255 blocks");
    SecretKey::fill_with(|key| okm.fill(key).expect("the output has the length asked for"))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(label: &str, context: &[&[u8]]) -> [u8; 32] {
        let secret = SecretKey::fill_with(|key| key.fill(1));
        *derive_key(&secret, &[2; 16], label, context).expose()
    }

    #[test]
    fn labels_and_contexts_separate_keys() {
        let all = [
            derived("a", &[]),
            derived("b", &[]),
            derived("a", &[b"x"]),
            derived("a", &[b"x", b""]),
            derived("a", &[b"", b"x"]),
            derived("ax", &[]),
        ];
        for (at, key) in all.iter().enumerate() {
            assert!(!all[..at].contains(key), "key {at} repeats");
        }
    }

    /// RFC 5869, A.1: the implementation below us is HKDF-SHA256.
    #[test]
    fn rfc5869_a1() {
        let salt = hex::decode("000102030405060708090a0b0c").unwrap();
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let info = [info.as_slice()];
        let prk = Salt::new(HKDF_SHA256, &salt).extract(&[0x0b; 22]);
        let mut out = [0; 42];
        prk.expand(&info, Length(42)).unwrap().fill(&mut out).unwrap();
        assert_eq!(
            hex::encode(out),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }
}

//! The proofs of the join handshake.
//!
//! ```text
//! cluster proof = HMAC-SHA256(secret, m("conclave join cluster v1", exporter, cluster pin, joiner pin, joiner nonce))
//! node proof    = HMAC-SHA256(secret, m("conclave join node v1",    exporter, cluster pin, joiner pin, joiner nonce, cluster nonce))
//! m(a, b, …)    = len(a) ‖ a ‖ len(b) ‖ b ‖ …        each length 32 bits, big-endian
//! ```
//!
//! The exporter (RFC 8446 §7.5) names this one TLS session and the pins its two ends, so a proof is
//! of no use to someone in between. **The secret must have at least 256 random bits**: whoever
//! connects may ask for a cluster proof and try guesses on it.

use ring::hmac;

use crate::tls::SpkiPin;

/// The session a proof belongs to, the same bytes at both ends.
pub(super) struct Session {
    pub(super) exporter: [u8; EXPORTER_BYTES],
    pub(super) cluster_pin: SpkiPin,
    pub(super) joiner_pin: SpkiPin,
}

/// A nonce of either side.
pub(super) type Nonce = [u8; NONCE_BYTES];

impl Session {
    pub(super) fn cluster_proof(&self, secret: &[u8], joiner: &Nonce) -> [u8; PROOF_BYTES] {
        sign(secret, &self.message(CLUSTER_DOMAIN, &[joiner]))
    }

    /// In constant time.
    pub(super) fn cluster_proof_is(&self, proof: &[u8], secret: &[u8], joiner: &Nonce) -> bool {
        verify(secret, &self.message(CLUSTER_DOMAIN, &[joiner]), proof)
    }

    pub(super) fn node_proof(
        &self,
        secret: &[u8],
        joiner: &Nonce,
        cluster: &Nonce,
    ) -> [u8; PROOF_BYTES] {
        sign(secret, &self.message(NODE_DOMAIN, &[joiner, cluster]))
    }

    /// In constant time.
    pub(super) fn node_proof_is(
        &self,
        proof: &[u8],
        secret: &[u8],
        joiner: &Nonce,
        cluster: &Nonce,
    ) -> bool {
        verify(secret, &self.message(NODE_DOMAIN, &[joiner, cluster]), proof)
    }

    /// The cluster's nonce, derived instead of remembered, so that a joiner that never comes back
    /// costs nothing: HMAC under a key that only this process knows.
    pub(super) fn derive_cluster_nonce(
        &self,
        process_key: &[u8; 32],
        token_id: &[u8],
        joiner: &Nonce,
    ) -> Nonce {
        sign(process_key, &self.message(NONCE_DOMAIN, &[token_id, joiner]))
    }

    fn message(&self, domain: &str, rest: &[&[u8]]) -> Vec<u8> {
        let fixed: [&[u8]; 4] = [
            domain.as_bytes(),
            &self.exporter,
            self.cluster_pin.as_bytes(),
            self.joiner_pin.as_bytes(),
        ];
        length_prefixed(fixed.iter().chain(rest).copied())
    }
}

/// Each part after its length, so that no two lists of parts have the same bytes.
pub(super) fn length_prefixed<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut message = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).expect("parts are shorter than 4 GiB");
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

fn sign(secret: &[u8], message: &[u8]) -> [u8; PROOF_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message);
    tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
}

fn verify(secret: &[u8], message: &[u8], proof: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, proof).is_ok()
}

pub(super) const EXPORTER_BYTES: usize = 32;
pub(super) const EXPORTER_LABEL: &[u8] = b"EXPORTER-conclave-join-v1";
pub(super) const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
const CLUSTER_DOMAIN: &str = "conclave join cluster v1";
const NODE_DOMAIN: &str = "conclave join node v1";
const NONCE_DOMAIN: &str = "conclave join nonce v1";

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            exporter: [1; 32],
            cluster_pin: SpkiPin::from_bytes(&[2; 32]).expect("32 bytes"),
            joiner_pin: SpkiPin::from_bytes(&[3; 32]).expect("32 bytes"),
        }
    }

    /// The expected values were computed by another implementation of HMAC, from the formula in
    /// this module's documentation.
    #[test]
    fn proofs_are_the_golden_ones() {
        let session = session();
        let (secret, joiner, cluster) = ([4; 32], [5; 32], [6; 32]);
        assert_eq!(
            hex::encode(session.cluster_proof(&secret, &joiner)),
            "ac5522a48fc9a2f2d117ea423e98c56beca660c3f53ce6b93164310680c78c9a"
        );
        assert_eq!(
            hex::encode(session.node_proof(&secret, &joiner, &cluster)),
            "6b7c5046cf8b79ee9dce2e02e52e44b5906b0303cbab85dc77f773479ccdccb5"
        );
    }

    #[test]
    fn every_input_changes_both_proofs() {
        let (secret, joiner, cluster) = ([4; 32], [5; 32], [6; 32]);
        let cluster_proof = session().cluster_proof(&secret, &joiner);
        let node_proof = session().node_proof(&secret, &joiner, &cluster);
        assert!(session().cluster_proof_is(&cluster_proof, &secret, &joiner));
        assert!(session().node_proof_is(&node_proof, &secret, &joiner, &cluster));
        let other_pin = SpkiPin::from_bytes(&[9; 32]).expect("32 bytes");
        for changed in [
            Session { exporter: [9; 32], ..session() },
            Session { cluster_pin: other_pin, ..session() },
            Session { joiner_pin: other_pin, ..session() },
            Session {
                cluster_pin: session().joiner_pin,
                joiner_pin: session().cluster_pin,
                ..session()
            },
        ] {
            assert!(!changed.cluster_proof_is(&cluster_proof, &secret, &joiner));
            assert!(!changed.node_proof_is(&node_proof, &secret, &joiner, &cluster));
        }
        assert!(!session().cluster_proof_is(&cluster_proof, &[9; 32], &joiner));
        assert!(!session().cluster_proof_is(&cluster_proof, &secret, &[9; 32]));
        assert!(!session().node_proof_is(&node_proof, &secret, &cluster, &joiner));
        assert!(!session().node_proof_is(&cluster_proof, &secret, &joiner, &cluster));
        assert!(!session().cluster_proof_is(&cluster_proof[..31], &secret, &joiner));
        assert!(!session().cluster_proof_is(&[], &secret, &joiner));
    }

    #[test]
    fn lengths_keep_neighbours_apart() {
        let split = |parts: &[&[u8]]| length_prefixed(parts.iter().copied());
        assert_ne!(split(&[b"ab", b"c"]), split(&[b"a", b"bc"]));
        assert_ne!(split(&[b"ab"]), split(&[b"ab", b""]));
    }
}

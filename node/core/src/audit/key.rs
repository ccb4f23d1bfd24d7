//! The key that hides values in one device's log.

use conclave_memory::Locked;
use conclave_ports::Rng;
use ring::hmac;
use zeroize::Zeroizing;

/// Hides values: equal ones look equal within one device's log, and nowhere else. It has no `Debug`
/// and no `Clone`.
pub struct HashKey(Locked<hmac::Key>);

impl HashKey {
    /// `K = keyed_hash(u8(|domain|) ‖ domain ‖ salt)`, with the barrier's hash for the audit log
    /// (HMAC-SHA-256, RFC 2104). **A device that was disabled and enabled again has a new salt.**
    pub fn derive(keyed_hash: impl FnOnce(&[u8]) -> [u8; 32], salt: &[u8; 32]) -> Self {
        let mut message = Vec::with_capacity(1 + DOMAIN.len() + salt.len());
        message.push(DOMAIN.len() as u8);
        message.extend_from_slice(DOMAIN);
        message.extend_from_slice(salt);
        Self::new(&Zeroizing::new(keyed_hash(&message)))
    }

    /// A key that nobody keeps, for what happens while the barrier is closed: values are hidden and
    /// cannot be compared later.
    pub fn make_throwaway(rng: &dyn Rng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill(&mut *secret);
        Self::new(&secret)
    }

    fn new(secret: &[u8; 32]) -> Self {
        Self(Locked::new(|| hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// `"hmac-sha256:" ‖ hex(HMAC-SHA-256(K, input))` (RFC 2104).
    #[must_use]
    pub fn hash(&self, input: &[u8]) -> String {
        let mut text = PREFIX.to_owned();
        text.push_str(&hex::encode(hmac::sign(self.0.expose(), input)));
        text
    }

    /// The same as a JSON string, without an allocation.
    pub(super) fn write(&self, input: &[u8], out: &mut Vec<u8>) {
        let mut digits = [0; 64];
        hex::encode_to_slice(hmac::sign(self.0.expose(), input), &mut digits)
            .expect("a tag has 32 bytes");
        out.push(b'"');
        out.extend_from_slice(PREFIX.as_bytes());
        out.extend_from_slice(&digits);
        out.push(b'"');
    }
}

const PREFIX: &str = "hmac-sha256:";
const DOMAIN: &[u8] = b"conclave v1 audit device";

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier_hash(message: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        hmac::sign(&key, message).as_ref().try_into().unwrap()
    }

    /// For ever: people compare what `sys/audit-hash` says with old lines.
    #[test]
    fn golden_hash() {
        let key = HashKey::derive(barrier_hash, &[9; 32]);
        assert_eq!(
            key.hash(b"value"),
            "hmac-sha256:e3e974d593b86bc4264628c9dca8c162da6965625ac0be56c09030c7fe48f7ee"
        );
        let mut written = Vec::new();
        key.write(b"value", &mut written);
        assert_eq!(written, format!("\"{}\"", key.hash(b"value")).into_bytes());
    }

    #[test]
    fn another_salt_is_another_hash() {
        let keys = [[1; 32], [2; 32]].map(|salt| HashKey::derive(barrier_hash, &salt));
        assert_ne!(keys[0].hash(b"value"), keys[1].hash(b"value"));
    }
}

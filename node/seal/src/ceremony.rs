//! The unseal ceremony: shares come in one by one, from several people.

use std::sync::Arc;

use conclave_barrier::{NewRecipient, RootKey, SealKey, SealRecord};
use conclave_memory::SecretKey;
use conclave_ports::Rng;

use crate::error::SealError;
use crate::given::{Given, KEY_BYTES, KIND, shamir_recipient};
use crate::shamir::{self, Share};

/// A new Shamir set: the recipient for `Barrier::initialise` and the shares to hand out.
///
/// # Errors
/// `Invalid` for numbers that [`shamir::split`] refuses.
pub fn make_shamir(
    rng: &dyn Rng,
    shares: u8,
    threshold: u8,
) -> Result<(NewRecipient, Vec<Share>), SealError> {
    let key = SecretKey::<KEY_BYTES>::fill_with(|key| rng.fill(key));
    let split = shamir::split(rng, key.expose(), shares, threshold)?;
    let recipient =
        NewRecipient { kind: KIND.to_owned(), shares, threshold, key: SealKey::new(key) };
    Ok((recipient, split))
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Different shares given.
    pub given: u8,
    /// Of the attempt under way; empty where none is.
    pub nonce: String,
}

/// Collects shares until the threshold is reached. Pure: no I/O, no clock.
pub struct Ceremony {
    rng: Arc<dyn Rng>,
    nonce: String,
    given: Given,
}

impl Ceremony {
    /// No attempt is under way.
    pub fn new(rng: Arc<dyn Rng>) -> Self {
        Self { rng, nonce: String::new(), given: Given::default() }
    }

    /// How far the attempt is.
    pub fn progress(&self) -> Progress {
        Progress { given: self.given.count(), nonce: self.nonce.clone() }
    }

    /// Forgets the attempt and its shares.
    pub fn reset(&mut self) {
        self.given.clear();
        self.nonce.clear();
    }

    /// Takes one share; the root key once enough are there and they are right.
    ///
    /// The first share starts an attempt with a nonce of its own. A share given before does not
    /// count again and is no error: two people may paste the same one.
    ///
    /// # Errors
    /// `Invalid` for a malformed share or a record without a Shamir recipient, the attempt stays as
    /// it is; `WrongShares` where the threshold is reached and the root key does not open, without a
    /// word on which share was wrong, and the attempt starts over.
    pub fn give(
        &mut self,
        record: &SealRecord,
        share: Share,
    ) -> Result<Option<RootKey>, SealError> {
        let (index, recipient) = shamir_recipient(record)?;
        let begins = self.given.is_empty();
        if self.given.add(share)? && begins {
            self.nonce = make_nonce(&*self.rng);
        }
        if self.given.count() < recipient.threshold {
            return Ok(None);
        }
        let opened = self.given.open(record, index);
        self.reset();
        opened.map(Some)
    }
}

/// 122 random bits, written as a version 4 UUID (RFC 9562).
pub(crate) fn make_nonce(rng: &dyn Rng) -> String {
    let mut bytes = [0; 16];
    rng.fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests;

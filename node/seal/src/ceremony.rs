//! The unseal ceremony: shares come in one by one, from several people.

use std::sync::Arc;

use conclave_barrier::{
    BarrierError, NewRecipient, Recipient, RootKey, SealKey, SealRecord, unwrap_root_key,
};
use conclave_memory::{SecretBytes, SecretKey};
use conclave_ports::Rng;

use crate::error::{SealError, invalid};
use crate::shamir::{self, Share};

/// How the seal record names this kind of recipient.
const KIND: &str = "shamir";
const KEY_BYTES: usize = 32;
const SHARE_BYTES: usize = KEY_BYTES + 1;

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
///
/// At most 255 shares are held, since the attempt ends at the threshold.
pub struct Ceremony {
    rng: Arc<dyn Rng>,
    nonce: String,
    shares: Vec<SecretBytes>,
}

impl Ceremony {
    /// No attempt is under way.
    pub fn new(rng: Arc<dyn Rng>) -> Self {
        Self { rng, nonce: String::new(), shares: Vec::new() }
    }

    /// How far the attempt is.
    pub fn progress(&self) -> Progress {
        let given = u8::try_from(self.shares.len()).expect("an attempt ends by 255 shares");
        Progress { given, nonce: self.nonce.clone() }
    }

    /// Forgets the attempt and its shares.
    pub fn reset(&mut self) {
        self.shares.clear();
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
        if share.len() != SHARE_BYTES || share[KEY_BYTES] == 0 {
            return invalid("this is not a share of an unseal key; give it as handed out");
        }
        let share = SecretBytes::new(share);
        if !self.shares.iter().any(|given| given.ct_eq(&share)) {
            if self.shares.is_empty() {
                self.nonce = make_nonce(&*self.rng);
            }
            self.shares.push(share);
        }
        if self.shares.len() < usize::from(recipient.threshold) {
            return Ok(None);
        }
        let opened = open(record, index, &self.shares);
        self.reset();
        opened.map(Some)
    }
}

fn shamir_recipient(record: &SealRecord) -> Result<(usize, &Recipient), SealError> {
    let recipients = record.recipients.iter().enumerate();
    match recipients.into_iter().find(|(_, recipient)| recipient.kind == KIND) {
        Some((index, recipient)) if recipient.threshold > 0 => Ok((index, recipient)),
        _ => invalid(
            "this cluster has no shares to give; it unseals by the key it is configured with",
        ),
    }
}

/// Any failure is the same one: a share of a wrong x says no more than one of a wrong y.
fn open(
    record: &SealRecord,
    recipient: usize,
    shares: &[SecretBytes],
) -> Result<RootKey, SealError> {
    let shares: Vec<&[u8]> = shares.iter().map(SecretBytes::expose).collect();
    let combined = shamir::combine_slices(&shares).map_err(|_| SealError::WrongShares)?;
    let key = SecretKey::<KEY_BYTES>::fill_with(|key| key.copy_from_slice(&combined));
    match unwrap_root_key(record, recipient, &SealKey::new(key)) {
        Ok(root_key) => Ok(root_key),
        Err(BarrierError::WrongKey) => Err(SealError::WrongShares),
        Err(other) => Err(SealError::Invalid(other.to_string())),
    }
}

/// 122 random bits, written as a version 4 UUID (RFC 9562).
fn make_nonce(rng: &dyn Rng) -> String {
    let mut bytes = [0; 16];
    rng.fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests;

//! Shares of one set, collected until they open the root key.

use conclave_barrier::{BarrierError, Recipient, RootKey, SealKey, SealRecord, unwrap_root_key};
use conclave_memory::{SecretBytes, SecretKey};

use crate::error::{SealError, invalid};
use crate::shamir::{self, Share};

/// How the seal record names the recipient that shares open.
pub(crate) const KIND: &str = "shamir";
pub(crate) const KEY_BYTES: usize = 32;
const SHARE_BYTES: usize = KEY_BYTES + 1;

/// Different shares, in locked memory. At most 255, since an attempt ends at its threshold.
#[derive(Default)]
pub(crate) struct Given(Vec<SecretBytes>);

impl Given {
    pub(crate) fn count(&self) -> u8 {
        u8::try_from(self.0.len()).expect("an attempt ends by 255 shares")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes a share; false where it was given before. Compares in constant time.
    ///
    /// # Errors
    /// `Invalid` for what cannot be a share.
    pub(crate) fn add(&mut self, share: Share) -> Result<bool, SealError> {
        let share = checked(share)?;
        let new = !self.has(&share);
        if new {
            self.0.push(share);
        }
        Ok(new)
    }

    /// Whether this share is one of them.
    pub(crate) fn has(&self, share: &SecretBytes) -> bool {
        self.0.iter().any(|given| given.ct_eq(share))
    }

    /// Opens the recipient with all of them. Any failure is the same one: a share of a wrong x says
    /// no more than one of a wrong y.
    pub(crate) fn open(&self, record: &SealRecord, recipient: usize) -> Result<RootKey, SealError> {
        let shares: Vec<&[u8]> = self.0.iter().map(SecretBytes::expose).collect();
        let combined = shamir::combine_slices(&shares).map_err(|_| SealError::WrongShares)?;
        let key = SecretKey::<KEY_BYTES>::fill_with(|key| key.copy_from_slice(&combined));
        match unwrap_root_key(record, recipient, &SealKey::new(key)) {
            Ok(root_key) => Ok(root_key),
            Err(BarrierError::WrongKey) => Err(SealError::WrongShares),
            Err(other) => Err(SealError::Invalid(other.to_string())),
        }
    }
}

/// The share in locked memory, if it can be one.
pub(crate) fn checked(share: Share) -> Result<SecretBytes, SealError> {
    if share.len() != SHARE_BYTES || share[KEY_BYTES] == 0 {
        return invalid("this is not a share of an unseal key; give it as handed out");
    }
    Ok(SecretBytes::new(share))
}

/// The recipient that shares open, and its place in the record.
pub(crate) fn shamir_recipient(record: &SealRecord) -> Result<(usize, &Recipient), SealError> {
    let recipients = record.recipients.iter().enumerate();
    match recipients.into_iter().find(|(_, recipient)| recipient.kind == KIND) {
        Some((index, recipient)) if recipient.threshold > 0 => Ok((index, recipient)),
        _ => invalid(
            "this cluster has no shares to give; it unseals by the key it is configured with",
        ),
    }
}

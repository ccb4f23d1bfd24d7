//! AES-256-GCM with one frame and one shape of associated data for every record.
//!
//! ```text
//! sealed record:  format 1 │ key term u32 BE │ nonce 12 │ ciphertext │ tag 16
//!
//! associated data, each field as  length u32 BE │ bytes :
//!   format 1 · cluster id 16 · key term 4 · namespace 16 · mount 16 · name · record kind 1
//!   name = each encrypted segment below the mount as  length u32 BE │ bytes
//! ```
//!
//! The key is chosen by the term in the header and that term is part of the associated data; keys
//! are never tried in turn, because GCM does not commit to its key. Term 0 is a key derived from
//! the root or a seal key, every other a data key of the keyring.

use bytes::Bytes;
use conclave_memory::{Locked, SecretKey};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::path::{MountId, NamespaceId};

/// The first byte of every sealed record.
pub(crate) const FORMAT: u8 = 1;
/// The term of keys that stand above the keyring.
pub(crate) const TERM_ROOT: u32 = 0;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + 4 + NONCE_BYTES;
/// What sealing adds to a record.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// A nonce of AES-GCM: 96 random bits, used once.
pub(crate) type NonceBytes = [u8; NONCE_BYTES];

/// What a sealed record is. The numbers are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// An ordinary row.
    Row = 1,
    /// A flat row: it may have the same name as an ordinary one.
    FlatRow = 2,
    /// A remembered response; its name is session, sequence and fingerprint.
    Reply = 3,
    /// The keyring.
    Keyring = 4,
    /// How many messages of a term are reserved.
    Count = 5,
    /// The root key under a seal key; its name is the recipient's kind, shares and threshold.
    RootKey = 6,
}

/// Where a record belongs. It opens there and nowhere else.
pub(crate) struct Place<'a> {
    pub(crate) cluster_id: &'a [u8; 16],
    pub(crate) namespace: NamespaceId,
    pub(crate) mount: MountId,
    pub(crate) name: &'a [Bytes],
    pub(crate) kind: RecordKind,
}

impl Place<'_> {
    /// The associated data that binds a record to this place; see the head of this file.
    pub(crate) fn associated_data(&self, term: u32) -> Vec<u8> {
        let name_bytes: usize = self.name.iter().map(|segment| 4 + segment.len()).sum();
        let mut data = Vec::with_capacity(96 + name_bytes);
        push_field(&mut data, &[FORMAT]);
        push_field(&mut data, self.cluster_id);
        push_field(&mut data, &term.to_be_bytes());
        push_field(&mut data, &self.namespace.0);
        push_field(&mut data, &self.mount.0);
        data.extend_from_slice(&length(name_bytes));
        for segment in self.name {
            push_field(&mut data, segment);
        }
        push_field(&mut data, &[self.kind as u8]);
        data
    }
}

/// Appends a field with its length before it, so that no two lists of fields read the same.
pub(crate) fn push_field(data: &mut Vec<u8>, field: &[u8]) {
    data.extend_from_slice(&length(field.len()));
    data.extend_from_slice(field);
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a name is far below 4 GiB").to_be_bytes()
}

/// A record did not open: wrong key, wrong place, damage, or not a record at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unopened;

/// A key for AES-256-GCM, expanded, in locked memory. Each purpose wraps it in a type of its own.
pub(crate) struct AeadKey(Locked<LessSafeKey>);

impl AeadKey {
    pub(crate) fn new(key: &SecretKey<32>) -> Self {
        Self(Locked::new(|| {
            let key = UnboundKey::new(&AES_256_GCM, key.expose());
            LessSafeKey::new(key.expect("AES-256 takes any 32 bytes"))
        }))
    }

    /// `header ‖ AES-256-GCM(K, N, A = place ‖ term, P)` (NIST SP 800-38D).
    ///
    /// **`nonce` must never have been used with this key before.**
    pub(crate) fn seal(
        &self,
        term: u32,
        nonce: NonceBytes,
        place: &Place<'_>,
        plaintext: &[u8],
    ) -> Bytes {
        let mut record = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
        record.push(FORMAT);
        record.extend_from_slice(&term.to_be_bytes());
        record.extend_from_slice(&nonce);
        record.extend_from_slice(plaintext);
        let aad = Aad::from(place.associated_data(term));
        let tag = self
            .0
            .expose()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                aad,
                &mut record[HEADER_BYTES..],
            )
            .expect("a record is far below the 64 GiB that one GCM message may have");
        record.extend_from_slice(tag.as_ref());
        record.into()
    }

    /// The inverse of [`Self::seal`], for a record whose header names `term`.
    ///
    /// The plaintext comes in a buffer of exactly its size plus the tag, never reallocated, so that
    /// a caller may wipe it.
    pub(crate) fn open(
        &self,
        term: u32,
        place: &Place<'_>,
        record: &[u8],
    ) -> Result<Vec<u8>, Unopened> {
        if term_of(record)? != term {
            return Err(Unopened);
        }
        let nonce = Nonce::try_assume_unique_for_key(&record[5..HEADER_BYTES]);
        let mut body = record[HEADER_BYTES..].to_vec();
        let aad = Aad::from(place.associated_data(term));
        let opened = self.0.expose().open_in_place(nonce.map_err(|_| Unopened)?, aad, &mut body);
        let len = opened.map_err(|_| Unopened)?.len();
        body.truncate(len);
        Ok(body)
    }
}

/// The key term a record names, before anything of it is trusted.
pub(crate) fn term_of(record: &[u8]) -> Result<u32, Unopened> {
    if record.len() < OVERHEAD_BYTES || record[0] != FORMAT {
        return Err(Unopened);
    }
    Ok(u32::from_be_bytes(record[1..5].try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests;

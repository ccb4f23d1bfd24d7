//! Names: deterministic encryption of path segments.
//!
//! ```text
//! row's place:  namespace id 16 │ mount id 16 │ sealed segment │ sealed segment │ …
//! sealed segment:  key id 1 (never 0) │ SIV tag 16 │ padded name 16, 32, 64, 128, … 1024
//! padded name:  name in UTF-8 │ 0x80 │ 0x00 …
//! ```
//!
//! Equal names give equal segments only in the same directory of the same mount. What shows is
//! depth, the number of siblings, and a name's length up to its padding. A segment that begins with
//! byte 0 is a fixed place of the barrier's own (see [`crate::places`]), which no name can take,
//! because key ids begin at 1.

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use bytes::Bytes;
use conclave_memory::SecretKey;

use crate::aead::push_field;
use crate::derive::derive_key;
use crate::error::{BarrierError, damaged};
use crate::path::{MountId, NamespaceId};

/// The longest name: what fits into the largest padding with its end mark.
pub(crate) const NAME_BYTES_MAX: usize = PADDED_BYTES_MAX - 1;

const PADDED_BYTES_MAX: usize = 1024;
const END_MARK: u8 = 0x80;

/// The key of one mount's names, of one generation.
pub(crate) struct NameKey {
    id: u8,
    key: SecretKey<64>,
}

impl NameKey {
    /// `K = HKDF(name secret of this id, "conclave v1 names", namespace, mount)` (RFC 5869): MAC
    /// key and encryption key of AES-256-SIV.
    pub(crate) fn derive(
        secret: &SecretKey<32>,
        id: u8,
        cluster_id: &[u8; 16],
        namespace: NamespaceId,
        mount: MountId,
    ) -> Self {
        let context: [&[u8]; 3] = [&[id], &namespace.0, &mount.0];
        Self { id, key: derive_key(secret, cluster_id, "conclave v1 names", &context) }
    }

    /// `id ‖ SIV-Encrypt(K, S1 = parent ‖ id, P = pad(name))` (RFC 5297, deterministic: no nonce).
    ///
    /// `parent` is the sealed segments between the mount and this name.
    pub(crate) fn seal(&self, parent: &[Bytes], name: &str) -> Result<Bytes, BarrierError> {
        check_name(name)?;
        let sealed = self.siv().encrypt([self.associated_data(parent)], &pad(name));
        let sealed = sealed.expect("one header and one name are within SIV's limits");
        let mut segment = Vec::with_capacity(1 + sealed.len());
        segment.push(self.id);
        segment.extend_from_slice(&sealed);
        Ok(segment.into())
    }

    /// The inverse of [`Self::seal`]: only the one spelling that `seal` gives opens.
    pub(crate) fn open(&self, parent: &[Bytes], segment: &[u8]) -> Result<String, BarrierError> {
        let Some((&id, sealed)) = segment.split_first() else {
            return Err(damaged("an empty name"));
        };
        if id != self.id {
            return Err(damaged("a name under another key"));
        }
        let padded = self.siv().decrypt([self.associated_data(parent)], sealed);
        let padded = padded.map_err(|_| damaged("a name that was not sealed in its directory"))?;
        let name = unpad(padded).ok_or_else(|| damaged("a name with wrong padding"))?;
        check_name(&name).map_err(|_| damaged("a name that could not be written"))?;
        Ok(name)
    }

    /// The cipher works with a mutable state, so each use sets up its own from the locked key.
    fn siv(&self) -> Aes256Siv {
        Aes256Siv::new(self.key.expose().into())
    }

    fn associated_data(&self, parent: &[Bytes]) -> Vec<u8> {
        let mut data = Vec::with_capacity(5 + parent.iter().map(|s| 4 + s.len()).sum::<usize>());
        push_field(&mut data, &[self.id]);
        for segment in parent {
            push_field(&mut data, segment);
        }
        data
    }
}

fn check_name(name: &str) -> Result<(), BarrierError> {
    let refuse = |why: String| Err(BarrierError::BadName(why));
    if name.is_empty() {
        return refuse("a name must not be empty; give every segment at least one letter".into());
    }
    if name.contains(['/', '\0']) {
        return refuse("a segment must not contain '/' or a NUL byte; split it or rename".into());
    }
    if name.len() > NAME_BYTES_MAX {
        let bytes = name.len();
        return refuse(format!(
            "a name has {bytes} bytes, the limit is {NAME_BYTES_MAX}; use a shorter one"
        ));
    }
    Ok(())
}

/// The smallest of 16, 32, and the multiples of 64 that holds a name and its end mark.
fn padded_len(name_len: usize) -> usize {
    match name_len + 1 {
        0..=16 => 16,
        17..=32 => 32,
        longer => longer.next_multiple_of(64),
    }
}

fn pad(name: &str) -> Vec<u8> {
    let mut padded = vec![0; padded_len(name.len())];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded[name.len()] = END_MARK;
    padded
}

/// None where another padding or another length would have been right.
fn unpad(mut padded: Vec<u8>) -> Option<String> {
    let end = padded.iter().rposition(|byte| *byte != 0)?;
    if padded[end] != END_MARK || padded.len() != padded_len(end) {
        return None;
    }
    padded.truncate(end);
    String::from_utf8(padded).ok()
}

#[cfg(test)]
mod tests;

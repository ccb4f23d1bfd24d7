//! The keyring in memory: the keys of one revision of the keyring row.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use conclave_memory::{Locked, SecretKey};
use conclave_ports::Ports;
use prost::Message;
use ring::hmac;
use zeroize::Zeroizing;

use crate::aead::{AeadKey, FORMAT, NonceBytes, Place, RecordKind, TERM_ROOT, Unopened};
use crate::derive::derive_key;
use crate::envelope::EnvelopeSecret;
use crate::error::{BarrierError, damaged};
use crate::ledger::{Key, Row};
use crate::names::NameKey;
use crate::path::{MountId, NamespaceId};
use crate::places;
use crate::records::keyring::{DataKeyRow, KeyringRow, NameKeyRow};
use crate::seal_record::RootKey;

/// Mounts whose name keys are kept derived; each takes a locked page.
const NAME_KEYS_MAX: usize = 512;

/// What keyed hashes are for; each has its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashPurpose {
    /// Looking tokens up without storing them.
    Token,
    /// Looking accessors up.
    Accessor,
    /// Hiding values in the audit log.
    Audit,
    /// Ids and owners of sessions.
    Session,
    /// What an idempotent request says.
    Fingerprint,
    /// Keys of batch tokens, one each.
    BatchToken,
    /// Where failed logins of a name are counted.
    LockOut,
}

impl HashPurpose {
    const ALL: [Self; 7] = [
        Self::Token,
        Self::Accessor,
        Self::Audit,
        Self::Session,
        Self::Fingerprint,
        Self::BatchToken,
        Self::LockOut,
    ];

    /// For ever: it is part of the derivation.
    fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Accessor => "accessor",
            Self::Audit => "audit",
            Self::Session => "session",
            Self::Fingerprint => "fingerprint",
            Self::BatchToken => "batch-token",
            Self::LockOut => "lock-out",
        }
    }
}

/// Seals the barrier's own rows: the keyring and the counts.
pub(crate) struct KeyringKey(AeadKey);

impl KeyringKey {
    /// `K = HKDF(root key, "conclave v1 keyring")` (RFC 5869).
    pub(crate) fn derive(root_key: &RootKey, cluster_id: &[u8; 16]) -> Self {
        let key = derive_key(root_key.secret(), cluster_id, "conclave v1 keyring", &[]);
        Self(AeadKey::new(&key))
    }

    /// `AES-256-GCM(K, N, A = the row's place, P)` for one of the rows of [`places`].
    pub(crate) fn seal(
        &self,
        cluster_id: &[u8; 16],
        key: &Key,
        kind: RecordKind,
        nonce: NonceBytes,
        plaintext: &[u8],
    ) -> Bytes {
        self.0.seal(TERM_ROOT, nonce, &places::bound(cluster_id, key, kind), plaintext)
    }

    /// The inverse of [`Self::seal`].
    pub(crate) fn open(
        &self,
        cluster_id: &[u8; 16],
        key: &Key,
        kind: RecordKind,
        record: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let place = places::bound(cluster_id, key, kind);
        self.0.open(TERM_ROOT, &place, record).map(Zeroizing::new)
    }
}

/// Seals rows and replies under one term.
pub(crate) struct DataKey(AeadKey);

impl DataKey {
    pub(crate) fn new(key: &SecretKey<32>) -> Self {
        Self(AeadKey::new(key))
    }

    /// `AES-256-GCM(K of term, N, A = place ‖ term, P)`: see [`AeadKey::seal`].
    ///
    /// **The message must be counted against the reservation of this term.**
    pub(crate) fn seal(
        &self,
        term: u32,
        nonce: NonceBytes,
        place: &Place<'_>,
        plaintext: &[u8],
    ) -> Bytes {
        self.0.seal(term, nonce, place, plaintext)
    }

    /// The inverse of [`Self::seal`].
    pub(crate) fn open(
        &self,
        term: u32,
        place: &Place<'_>,
        record: &[u8],
    ) -> Result<Vec<u8>, Unopened> {
        self.0.open(term, place, record)
    }
}

/// All keys below the root key, as of one revision.
pub(crate) struct Keyring {
    /// Of the keyring row; 0 before the first was read.
    pub(crate) revision: u64,
    /// The term that seals.
    pub(crate) term: u32,
    /// The epoch that the key of this term was made in.
    pub(crate) made_in: u64,
    /// The cluster's epoch when this row was read.
    pub(crate) epoch: u64,
    data_keys: BTreeMap<u32, DataKey>,
    name_key_id: u8,
    name_secrets: BTreeMap<u8, SecretKey<32>>,
    /// Bounded by [`NAME_KEYS_MAX`]; refilled at will, since it is derived.
    name_keys: RwLock<BTreeMap<(u8, NamespaceId, MountId), Arc<NameKey>>>,
    hash_keys: [Locked<hmac::Key>; HashPurpose::ALL.len()],
    cluster_id: [u8; 16],
}

impl Keyring {
    /// Builds the keys that an opened row holds.
    pub(crate) fn new(
        row: &KeyringRow,
        revision: u64,
        epoch: u64,
        cluster_id: [u8; 16],
    ) -> Result<Self, BarrierError> {
        let mut data_keys = BTreeMap::new();
        for key in &row.data_keys {
            data_keys.insert(key.term, DataKey::new(&secret(&key.key)?));
        }
        let newest = row.data_keys.iter().max_by_key(|key| key.term);
        let made_in = newest.map_or(0, |key| key.epoch);
        let mut name_secrets = BTreeMap::new();
        for key in &row.name_keys {
            let id = u8::try_from(key.id).map_err(|_| wrong_keyring())?;
            name_secrets.insert(id, secret(&key.secret)?);
        }
        let term = *data_keys.last_key_value().ok_or_else(wrong_keyring)?.0;
        let name_key_id = *name_secrets.last_key_value().ok_or_else(wrong_keyring)?.0;
        if data_keys.contains_key(&TERM_ROOT) || name_secrets.contains_key(&0) {
            return Err(wrong_keyring());
        }
        let hash_keys = hash_keys(&secret(&row.hash_secret)?, &cluster_id);
        let name_keys = RwLock::default();
        Ok(Self {
            revision,
            term,
            made_in,
            epoch,
            data_keys,
            name_key_id,
            name_secrets,
            name_keys,
            hash_keys,
            cluster_id,
        })
    }

    /// Whether the key that would seal is of an earlier epoch. Its message count may have gone back
    /// with the state, so it seals nothing more.
    pub(crate) fn is_outdated(&self) -> bool {
        self.made_in < self.epoch
    }

    /// The data key of a term, if this keyring has it.
    pub(crate) fn data_key(&self, term: u32) -> Option<&DataKey> {
        self.data_keys.get(&term)
    }

    /// The data key that seals, of [`Self::term`].
    pub(crate) fn sealing_key(&self) -> &DataKey {
        self.data_keys.get(&self.term).expect("the term is one of the keys'")
    }

    /// The name key that seals names of this mount.
    pub(crate) fn sealing_name_key(&self, namespace: NamespaceId, mount: MountId) -> Arc<NameKey> {
        self.name_key(self.name_key_id, namespace, mount).expect("the id is one of the secrets'")
    }

    /// The name key of an id, if this keyring has it.
    pub(crate) fn name_key(
        &self,
        id: u8,
        namespace: NamespaceId,
        mount: MountId,
    ) -> Option<Arc<NameKey>> {
        let place = (id, namespace, mount);
        let read = self.name_keys.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = read.get(&place) {
            return Some(Arc::clone(key));
        }
        drop(read);
        let secret = self.name_secrets.get(&id)?;
        let key = Arc::new(NameKey::derive(secret, id, &self.cluster_id, namespace, mount));
        let mut write = self.name_keys.write().unwrap_or_else(PoisonError::into_inner);
        if write.len() >= NAME_KEYS_MAX {
            // Which one goes does not matter for correctness; with more mounts than this, deriving
            // again costs three microseconds.
            write.pop_first();
        }
        write.insert(place, Arc::clone(&key));
        Some(key)
    }

    /// `HMAC-SHA-256(K of purpose, data)` (RFC 2104).
    pub(crate) fn hash(&self, purpose: HashPurpose, data: &[u8]) -> [u8; 32] {
        let key = self.hash_keys[purpose as usize].expose();
        hmac::sign(key, data).as_ref().try_into().expect("SHA-256 gives 32 bytes")
    }
}

/// The secret of envelopes between members: the same in all terms, so members whose keyrings differ
/// in age understand each other.
pub(crate) fn envelope_secret(
    row: &KeyringRow,
    cluster_id: &[u8; 16],
) -> Result<EnvelopeSecret, BarrierError> {
    Ok(EnvelopeSecret::derive(&secret(&row.hash_secret)?, cluster_id))
}

/// `K of purpose = HKDF(hash secret, "conclave v1 hash", purpose)` (RFC 5869).
fn hash_keys(
    secret: &SecretKey<32>,
    cluster_id: &[u8; 16],
) -> [Locked<hmac::Key>; HashPurpose::ALL.len()] {
    HashPurpose::ALL.map(|purpose| {
        let context = [purpose.label().as_bytes()];
        let key: SecretKey<32> = derive_key(secret, cluster_id, "conclave v1 hash", &context);
        Locked::new(|| hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    })
}

/// The first keyring of a cluster.
pub(crate) fn make_keyring(ports: &Ports, now_ms: u64, epoch: u64) -> KeyringRow {
    KeyringRow {
        format: FORMAT.into(),
        data_keys: vec![make_data_key(ports, 1, now_ms, epoch)],
        name_keys: vec![NameKeyRow { id: 1, secret: make_secret(ports) }],
        hash_secret: make_secret(ports),
    }
}

/// A data key for a new term.
pub(crate) fn make_data_key(ports: &Ports, term: u32, now_ms: u64, epoch: u64) -> DataKeyRow {
    DataKeyRow { term, key: make_secret(ports), installed_ms: now_ms, epoch }
}

fn make_secret(ports: &Ports) -> Vec<u8> {
    let mut secret = vec![0; 32];
    ports.rng.fill(&mut secret);
    secret
}

/// The keyring row's plaintext.
pub(crate) fn encode(row: &KeyringRow) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(row.encode_to_vec())
}

/// Opens and reads a keyring row. `WrongKey` where the root key is not its key.
pub(crate) fn decode(
    key: &KeyringKey,
    cluster_id: &[u8; 16],
    row: &Row,
) -> Result<KeyringRow, BarrierError> {
    let opened = key.open(cluster_id, &places::keyring(), RecordKind::Keyring, &row.value);
    let plaintext = opened.map_err(|_| BarrierError::WrongKey)?;
    // prost slices an owner without copying it, and the owner is wiped when the last slice goes.
    let keyring = KeyringRow::decode(Bytes::from_owner(plaintext)).map_err(|_| wrong_keyring())?;
    if keyring.format != FORMAT.into() {
        return Err(damaged("the keyring has an unknown format; run a newer version"));
    }
    Ok(keyring)
}

fn secret(bytes: &[u8]) -> Result<SecretKey<32>, BarrierError> {
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| wrong_keyring())?;
    Ok(SecretKey::fill_with(|key| key.copy_from_slice(bytes)))
}

fn wrong_keyring() -> BarrierError {
    damaged("the keyring opens but makes no sense; restore a backup")
}

#[cfg(test)]
mod tests;

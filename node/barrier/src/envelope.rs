//! Envelopes: what one unsealed member hands to another, readable by nobody without the keyring,
//! not even by who reads inside TLS.
//!
//! ```text
//! envelope:  format 1 │ salt 16 │ counter u64 BE │ ciphertext │ tag 16
//!
//! E = HKDF(hash secret, "conclave v1 envelope")
//! K = HKDF(E, "conclave v1 envelope key", purpose · salt)       purpose = "request" or "reply"
//! N = 0 u32 │ counter u64 BE
//!
//! associated data, each field as  length u32 BE │ bytes :
//!   format 1 · cluster id 16 · purpose · from u64 BE · to u64 BE
//!   and for a reply, of its request:  · salt 16 · counter u64 BE
//! ```
//!
//! Each opening of the barrier draws a salt of its own and counts from 0, so no key ever sees a
//! nonce twice, nothing of it has to be reserved through the log, and a rotation of the data keys
//! changes nothing. Envelopes live as long as a message does: nothing stored depends on them.
//!
//! What they do not stop is a message delivered twice; TLS and the request's own id do.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conclave_memory::{Locked, SecretKey};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::aead::push_field;
use crate::derive::derive_key;

/// From whom to whom this one envelope goes, by Raft id: a reply's is its request's turned round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Who seals.
    pub from: u64,
    /// Who opens.
    pub to: u64,
}

impl Route {
    /// The way back.
    #[must_use]
    pub fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// Names one sealed request among all of a cluster, so that a reply can be bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeId {
    salt: Salt,
    counter: u64,
}

/// Why an envelope was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It was sealed by another cluster, for another member, as something else, or was changed.
    #[error("a message of a peer does not open; check that both nodes are of this cluster and run")]
    Unopened,
    /// This key has sealed all that one key may.
    #[error("this node has sealed too many messages under one key; restart it")]
    Exhausted,
}

/// Seals and opens what this node and its peers hand each other while both are unsealed.
pub struct PeerSealer {
    cluster_id: [u8; 16],
    requests: Keys<Request>,
    replies: Keys<Reply>,
}

impl PeerSealer {
    /// **`salt` is random and drawn for this sealer alone.**
    pub(crate) fn new(secret: &EnvelopeSecret, cluster_id: [u8; 16], salt: [u8; 16]) -> Self {
        Self {
            cluster_id,
            requests: Keys::new(secret, cluster_id, salt),
            replies: Keys::new(secret, cluster_id, salt),
        }
    }

    /// A sealer apart from any barrier, for tests of what is sealed. **Nodes take their barrier's.**
    #[must_use]
    pub fn danger_from_secret(
        secret: &SecretKey<32>,
        cluster_id: [u8; 16],
        salt: [u8; 16],
    ) -> Self {
        Self::new(&EnvelopeSecret::derive(secret, &cluster_id), cluster_id, salt)
    }

    /// Seals a request; the id is what opens its reply.
    ///
    /// # Errors
    /// `Exhausted`.
    pub fn seal_request(
        &self,
        route: Route,
        plaintext: &[u8],
    ) -> Result<(Bytes, EnvelopeId), EnvelopeError> {
        self.requests.seal(self.associated_data::<Request>(route, None), plaintext)
    }

    /// Opens a request that `route.from` sealed for `route.to`; the id is what its reply is bound
    /// to.
    ///
    /// # Errors
    /// `Unopened`.
    pub fn open_request(
        &self,
        route: Route,
        envelope: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, EnvelopeId), EnvelopeError> {
        self.requests.open(self.associated_data::<Request>(route, None), envelope)
    }

    /// Seals the reply to a request.
    ///
    /// # Errors
    /// `Exhausted`.
    pub fn seal_reply(
        &self,
        route: Route,
        request: EnvelopeId,
        plaintext: &[u8],
    ) -> Result<Bytes, EnvelopeError> {
        let data = self.associated_data::<Reply>(route, Some(request));
        self.replies.seal(data, plaintext).map(|(envelope, _)| envelope)
    }

    /// Opens the reply to this request and to no other.
    ///
    /// # Errors
    /// `Unopened`.
    pub fn open_reply(
        &self,
        route: Route,
        request: EnvelopeId,
        envelope: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let data = self.associated_data::<Reply>(route, Some(request));
        self.replies.open(data, envelope).map(|(plaintext, _)| plaintext)
    }

    /// What an envelope is bound to; see the head of this file.
    fn associated_data<P: Purpose>(&self, route: Route, request: Option<EnvelopeId>) -> Vec<u8> {
        let mut data = Vec::with_capacity(ASSOCIATED_BYTES_MAX);
        push_field(&mut data, &[FORMAT]);
        push_field(&mut data, &self.cluster_id);
        push_field(&mut data, P::NAME.as_bytes());
        push_field(&mut data, &route.from.to_be_bytes());
        push_field(&mut data, &route.to.to_be_bytes());
        if let Some(request) = request {
            push_field(&mut data, &request.salt);
            push_field(&mut data, &request.counter.to_be_bytes());
        }
        data
    }
}

/// What all keys of envelopes are derived from.
pub(crate) struct EnvelopeSecret(SecretKey<32>);

impl EnvelopeSecret {
    /// `E = HKDF(hash secret, "conclave v1 envelope")` (RFC 5869).
    pub(crate) fn derive(hash_secret: &SecretKey<32>, cluster_id: &[u8; 16]) -> Self {
        Self(derive_key(hash_secret, cluster_id, "conclave v1 envelope", &[]))
    }
}

/// What a key seals. The names are for ever: they are part of the derivation.
trait Purpose {
    const NAME: &'static str;
}

enum Request {}

impl Purpose for Request {
    const NAME: &'static str = "request";
}

enum Reply {}

impl Purpose for Reply {
    const NAME: &'static str = "reply";
}

/// The keys of one purpose: this node's own, which seals, and those of its peers.
struct Keys<P> {
    secret: SecretKey<32>,
    cluster_id: [u8; 16],
    salt: Salt,
    own: Arc<Key<P>>,
    /// The counter of the next envelope.
    next: AtomicU64,
    /// Bounded by [`PEER_KEYS_MAX`]; only keys that opened something come in.
    peers: Mutex<BTreeMap<Salt, Arc<Key<P>>>>,
}

impl<P: Purpose> Keys<P> {
    fn new(secret: &EnvelopeSecret, cluster_id: [u8; 16], salt: Salt) -> Self {
        let own = Arc::new(Key::derive(&secret.0, &cluster_id, &salt));
        let (next, peers) = (AtomicU64::new(0), Mutex::default());
        Self { secret: secret.0.duplicate(), cluster_id, salt, own, next, peers }
    }

    fn seal(
        &self,
        associated_data: Vec<u8>,
        plaintext: &[u8],
    ) -> Result<(Bytes, EnvelopeId), EnvelopeError> {
        let id = EnvelopeId { salt: self.salt, counter: self.take_counter()? };
        let mut envelope = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
        envelope.push(FORMAT);
        envelope.extend_from_slice(&id.salt);
        envelope.extend_from_slice(&id.counter.to_be_bytes());
        envelope.extend_from_slice(plaintext);
        self.own.seal(id.counter, associated_data, &mut envelope);
        Ok((envelope.into(), id))
    }

    /// Each number once. At the limit the counter stands still, so nothing wraps round.
    fn take_counter(&self) -> Result<u64, EnvelopeError> {
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (next < ENVELOPES_PER_KEY_MAX).then_some(next + 1)
            })
            .map_err(|_| EnvelopeError::Exhausted)
    }

    fn open(
        &self,
        associated_data: Vec<u8>,
        envelope: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, EnvelopeId), EnvelopeError> {
        let id = id_of(envelope)?;
        let (key, known) = self.key_of(&id.salt);
        let plaintext = key.open(id.counter, associated_data, &envelope[HEADER_BYTES..])?;
        if !known {
            self.remember(id.salt, key);
        }
        Ok((plaintext, id))
    }

    /// The key of a salt, and whether it was known already.
    fn key_of(&self, salt: &Salt) -> (Arc<Key<P>>, bool) {
        if *salt == self.salt {
            return (Arc::clone(&self.own), true);
        }
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = peers.get(salt) {
            return (Arc::clone(key), true);
        }
        drop(peers);
        (Arc::new(Key::derive(&self.secret, &self.cluster_id, salt)), false)
    }

    fn remember(&self, salt: Salt, key: Arc<Key<P>>) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEER_KEYS_MAX {
            // Most are of processes that ended. Dropping a live one costs deriving it again.
            peers.pop_first();
        }
        peers.insert(salt, key);
    }
}

/// The key of one purpose and one salt, expanded, in locked memory.
struct Key<P>(Locked<LessSafeKey>, PhantomData<fn() -> P>);

impl<P: Purpose> Key<P> {
    /// `K = HKDF(E, "conclave v1 envelope key", purpose · salt)` (RFC 5869).
    fn derive(secret: &SecretKey<32>, cluster_id: &[u8; 16], salt: &Salt) -> Self {
        let context: [&[u8]; 2] = [P::NAME.as_bytes(), salt];
        let key: SecretKey<32> =
            derive_key(secret, cluster_id, "conclave v1 envelope key", &context);
        let expanded = Locked::new(|| {
            let key = UnboundKey::new(&AES_256_GCM, key.expose());
            LessSafeKey::new(key.expect("AES-256 takes any 32 bytes"))
        });
        Self(expanded, PhantomData)
    }

    /// `header ‖ AES-256-GCM(K, N = counter, A, P)` (NIST SP 800-38D §8.2.1, the deterministic
    /// construction), in place, behind the header.
    ///
    /// **`counter` must never have been used with this key before.**
    fn seal(&self, counter: u64, associated_data: Vec<u8>, envelope: &mut Vec<u8>) {
        let tag = self
            .0
            .expose()
            .seal_in_place_separate_tag(
                nonce(counter),
                Aad::from(associated_data),
                &mut envelope[HEADER_BYTES..],
            )
            .expect("a message is far below the 64 GiB that one GCM message may have");
        envelope.extend_from_slice(tag.as_ref());
    }

    /// The inverse of [`Self::seal`], of what stands behind the header.
    fn open(
        &self,
        counter: u64,
        associated_data: Vec<u8>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let mut body = Zeroizing::new(sealed.to_vec());
        let opened = self.0.expose().open_in_place(
            nonce(counter),
            Aad::from(associated_data),
            body.as_mut_slice(),
        );
        let len = opened.map_err(|_| EnvelopeError::Unopened)?.len();
        body.truncate(len);
        Ok(body)
    }
}

/// Salt and counter that an envelope names, before anything of it is trusted.
fn id_of(envelope: &[u8]) -> Result<EnvelopeId, EnvelopeError> {
    if envelope.len() < OVERHEAD_BYTES || envelope[0] != FORMAT {
        return Err(EnvelopeError::Unopened);
    }
    let salt = envelope[1..1 + SALT_BYTES].try_into().expect("the range has the salt's length");
    let counter = envelope[1 + SALT_BYTES..HEADER_BYTES].try_into().expect("eight bytes");
    Ok(EnvelopeId { salt, counter: u64::from_be_bytes(counter) })
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

type Salt = [u8; SALT_BYTES];

/// The first byte of every envelope.
const FORMAT: u8 = 1;
const SALT_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + SALT_BYTES + 8;
/// What sealing adds.
const OVERHEAD_BYTES: usize = HEADER_BYTES + 16;
const ASSOCIATED_BYTES_MAX: usize = 128;
/// A million a second for nine years, and of 1 MiB each still far from where GCM wears out.
const ENVELOPES_PER_KEY_MAX: u64 = 1 << 48;
/// Peers' keys that are kept derived; each takes a locked page.
const PEER_KEYS_MAX: usize = 64;

#[cfg(test)]
mod tests;

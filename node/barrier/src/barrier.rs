//! The unsealed barrier: the keys in force and the ledger they work on.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use conclave_ports::Ports;

use crate::aead::{self, NonceBytes, Place};
use crate::count::{MessageLimits, Reservation};
use crate::envelope::PeerSealer;
use crate::error::{BarrierError, damaged};
use crate::keyring::{self, HashPurpose, Keyring, KeyringKey};
use crate::ledger::{Ledger, LedgerView};
use crate::listing::ListingCache;
use crate::new_barrier::NewBarrier;
use crate::nonce::NonceSource;
use crate::places;
use crate::records::keyring::KeyringRow;
use crate::seal_record::{NewRecipient, RootKey, seal_record};
use crate::transaction::Transaction;

/// The unsealed barrier.
///
/// Sealing a node is dropping it: all keys go with it.
pub struct Barrier {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) ports: Ports,
    pub(crate) cluster_id: [u8; 16],
    pub(crate) root_key: RootKey,
    pub(crate) keyring_key: KeyringKey,
    /// Replaced by [`Self::follow`] only, and only by a newer revision.
    keyring: RwLock<Arc<Keyring>>,
    pub(crate) nonces: NonceSource,
    peer_sealer: PeerSealer,
    /// What this node may still seal; see `count`.
    pub(crate) reservation: Mutex<Reservation>,
    pub(crate) limits: MessageLimits,
    pub(crate) listings: Mutex<ListingCache>,
}

impl Barrier {
    /// Makes a cluster that holds nothing yet; [`NewBarrier`] for one that begins with more.
    ///
    /// # Errors
    /// As [`NewBarrier::make`] and [`NewBarrier::commit`].
    pub async fn initialise(
        ledger: Arc<dyn Ledger>,
        ports: Ports,
        cluster_id: [u8; 16],
        cluster_name: &str,
        recipients: Vec<NewRecipient>,
    ) -> Result<Self, BarrierError> {
        let new = NewBarrier::make(ledger, ports, cluster_id, cluster_name, recipients)?;
        let nothing = new.transaction();
        let barrier = new.commit(nothing).await?;
        Ok(Arc::into_inner(barrier).expect("nobody else has seen a barrier just made"))
    }

    /// Opens the keyring with the root key, at the ledger's newest applied revision.
    ///
    /// # Errors
    /// `NotInitialized`, `WrongKey`, `Damaged`, `Ledger`.
    pub fn open(
        ledger: Arc<dyn Ledger>,
        ports: Ports,
        root_key: RootKey,
    ) -> Result<Self, BarrierError> {
        let view = ledger.view();
        let record = seal_record(&*view)?.ok_or(BarrierError::NotInitialized)?;
        let cluster_id = record.cluster_id;
        let keyring_key = KeyringKey::derive(&root_key, &cluster_id);
        let row = view.get(&places::keyring())?.ok_or(BarrierError::NotInitialized)?;
        let opened = keyring::decode(&keyring_key, &cluster_id, &row)?;
        let read = (&opened, row.revision, view.epoch());
        drop(view);
        Self::with_keyring(ledger, ports, cluster_id, root_key, read)
    }

    /// A barrier whose keyring is this one, of this revision, read in this epoch.
    pub(crate) fn with_keyring(
        ledger: Arc<dyn Ledger>,
        ports: Ports,
        cluster_id: [u8; 16],
        root_key: RootKey,
        (opened, revision, epoch): (&KeyringRow, u64, u64),
    ) -> Result<Self, BarrierError> {
        let keyring = Keyring::new(opened, revision, epoch, cluster_id)?;
        let envelope_secret = keyring::envelope_secret(opened, &cluster_id)?;
        let peer_sealer = PeerSealer::new(&envelope_secret, cluster_id, ports.random());
        Ok(Self {
            keyring_key: KeyringKey::derive(&root_key, &cluster_id),
            ledger,
            ports,
            cluster_id,
            root_key,
            keyring: RwLock::new(Arc::new(keyring)),
            nonces: NonceSource::new(),
            peer_sealer,
            reservation: Mutex::default(),
            limits: MessageLimits::default(),
            listings: Mutex::default(),
        })
    }

    /// Other limits than the safe ones, so that a test sees a rotation without 2³¹ messages.
    ///
    /// **A block is at most the limit**: a key takes at least one.
    #[must_use]
    pub fn danger_message_limits(mut self, limits: MessageLimits) -> Self {
        assert!(limits.block_messages <= limits.messages_per_key_max, "a block is above the limit");
        self.limits = limits;
        self
    }

    /// Follows seal record and keyring to the view's revision. `WrongKey` means that this node must
    /// seal itself.
    ///
    /// Cheap where nothing changed: one read. A view older than what is known changes nothing. Terms
    /// only rise within an epoch; a restore, which begins another, may bring an older keyring.
    ///
    /// # Errors
    /// `WrongKey`, `Damaged`, `NotInitialized`, `Ledger`.
    pub fn follow(&self, view: &dyn LedgerView) -> Result<(), BarrierError> {
        let row = view.get(&places::keyring())?.ok_or(BarrierError::NotInitialized)?;
        let known = self.keyring();
        if row.revision <= known.revision {
            return Ok(());
        }
        let record = seal_record(view)?.ok_or(BarrierError::NotInitialized)?;
        if record.cluster_id != self.cluster_id {
            return Err(BarrierError::WrongKey);
        }
        let opened = keyring::decode(&self.keyring_key, &self.cluster_id, &row)?;
        let newer = Keyring::new(&opened, row.revision, view.epoch(), self.cluster_id)?;
        if newer.term < known.term && newer.epoch <= known.epoch {
            return Err(damaged("an old keyring was put back; restore a backup"));
        }
        let mut held = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        // Another task may have read a still newer one meanwhile.
        if held.revision < newer.revision {
            *held = Arc::new(newer);
        }
        Ok(())
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> [u8; 16] {
        self.cluster_id
    }

    /// What lies below.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The key at the top, for peer unseal.
    pub fn root_key(&self) -> &RootKey {
        &self.root_key
    }

    /// The data key term that seals, as far as this node has followed.
    pub fn term(&self) -> u32 {
        self.keyring().term
    }

    /// `HMAC-SHA-256(K of purpose, data)` (RFC 2104), under the purpose's own key of the keyring.
    pub fn keyed_hash(&self, purpose: HashPurpose, data: &[u8]) -> [u8; 32] {
        self.keyring().hash(purpose, data)
    }

    /// What this node and its unsealed peers hand each other goes through it.
    pub fn peer_sealer(&self) -> &PeerSealer {
        &self.peer_sealer
    }

    /// A transaction over one view.
    pub fn transaction(self: &Arc<Self>, view: Arc<dyn LedgerView>) -> Transaction {
        Transaction::new(Arc::clone(self), view)
    }

    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn make_nonce(&self) -> NonceBytes {
        self.nonces.make(&*self.ports.rng)
    }

    /// Opens a record that a data key sealed. A term unknown here is one that this node has not
    /// followed to yet: the view that shows the record also shows the keyring it was sealed under.
    pub(crate) fn open_record(
        &self,
        view: &dyn LedgerView,
        place: &Place<'_>,
        record: &[u8],
    ) -> Result<Bytes, BarrierError> {
        let wrong = || damaged("it was moved or changed; restore it from a backup");
        let term = aead::term_of(record).map_err(|_| wrong())?;
        let mut keyring = self.keyring();
        if keyring.data_key(term).is_none() {
            self.follow(view)?;
            keyring = self.keyring();
        }
        let key = keyring.data_key(term).ok_or_else(|| {
            BarrierError::Damaged(format!("the keyring has no term {term}; restore a backup"))
        })?;
        key.open(term, place, record).map(Bytes::from).map_err(|_| wrong())
    }
}

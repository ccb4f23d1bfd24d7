//! Message counts: no data key seals more than its share.
//!
//! GCM with random nonces allows 2³² messages a key (SP 800-38D §8.3). Counting each through the log
//! would cost an entry each, so a node reserves messages in blocks: one entry raises the term's
//! count row by a block, and whoever's entry was applied owns that block. What a crash leaves of a
//! block is never used again, so the row counts at least what was sealed, whoever led and however
//! often it fell. A key whose next block would pass the limit is replaced first. A new epoch may have
//! put an older count back (a restore does), so a key made in an earlier one is replaced as well.

use std::sync::{Arc, MutexGuard, PoisonError};

use prost::Message;

use crate::aead::{FORMAT, RecordKind};
use crate::barrier::Barrier;
use crate::error::{BarrierError, damaged};
use crate::keyring::{self, Keyring};
use crate::ledger::{Batch, Committed, Condition, Key, LedgerError, LedgerView, Write};
use crate::places;
use crate::records::count::CountRow;

/// Half of what SP 800-38D allows, so that a rotation is never a matter of hours.
const MESSAGES_PER_KEY_MAX: u64 = 1 << 31;
/// One entry for about a million messages, and at most that many lost by a crash.
const BLOCK_MESSAGES: u64 = 1 << 20;
/// How often a reservation or rotation that lost a race is planned again.
const ATTEMPTS_MAX: usize = 8;

/// How many messages a data key seals, and how many a node reserves at a time.
#[derive(Debug, Clone, Copy)]
pub struct MessageLimits {
    /// A key is replaced before it would seal more.
    pub messages_per_key_max: u64,
    /// What one entry reserves. At most the limit, and at least what one transaction writes.
    pub block_messages: u64,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { messages_per_key_max: MESSAGES_PER_KEY_MAX, block_messages: BLOCK_MESSAGES }
    }
}

/// The data key that seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its term.
    pub term: u32,
    /// The cluster's time when it was made.
    pub installed_ms: u64,
    /// At least as many as it has sealed: what was reserved under it, but for what this node still
    /// has left of that.
    pub messages: u64,
}

/// What this node may still seal under one term.
#[derive(Default)]
pub(crate) struct Reservation {
    key: KeyId,
    messages: u64,
}

/// The epoch a data key was made in, then its term: which key is the newer one. After a restore a
/// term can come again, with another key.
type KeyId = (u64, u32);

impl Reservation {
    fn take(&mut self, key: KeyId, messages: u64) -> bool {
        let enough = self.remaining(key) >= messages;
        if enough {
            self.messages -= messages;
        }
        enough
    }

    /// A reservation for a newer key replaces the old one: nobody seals under an old key. One for
    /// an older key comes late, after another task's rotation, and is left unused.
    fn add(&mut self, key: KeyId, messages: u64) {
        if key < self.key {
            return;
        }
        self.messages = self.remaining(key) + messages;
        self.key = key;
    }

    fn remaining(&self, key: KeyId) -> u64 {
        if self.key == key { self.messages } else { 0 }
    }
}

impl Barrier {
    /// Adds a new data key term and makes it the one that seals. One log entry.
    ///
    /// # Errors
    /// `Ledger`, with `Busy` where others rotate all the time; `WrongKey`, `Damaged`.
    pub async fn rotate(&self) -> Result<u32, BarrierError> {
        for _ in 0..ATTEMPTS_MAX {
            let view = self.ledger.view();
            if let Some(term) = self.rotate_once(view).await? {
                return Ok(term);
            }
        }
        Err(LedgerError::Busy.into())
    }

    /// Reserves message counts, and rotates where a key nears its limit or is of an earlier epoch;
    /// called by the leader's background task and before a reservation runs out.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub async fn maintain(&self) -> Result<(), BarrierError> {
        self.follow(&*self.ledger.view())?;
        let keyring = self.keyring();
        let reserved = self.reservation().remaining(key_id(&keyring));
        if !keyring.is_outdated() && reserved >= self.limits.block_messages / 2 {
            return Ok(());
        }
        drop(keyring);
        self.reserve_once(1).await
    }

    /// The data key that seals as of this view.
    ///
    /// # Errors
    /// `Ledger`, `NotInitialized`, `WrongKey`, `Damaged`.
    pub fn key_status(&self, view: &dyn LedgerView) -> Result<KeyStatus, BarrierError> {
        let row = view.get(&places::keyring())?.ok_or(BarrierError::NotInitialized)?;
        let record = keyring::decode(&self.keyring_key, &self.cluster_id, &row)?;
        let newest = record.data_keys.iter().max_by_key(|key| key.term);
        let newest = newest.ok_or_else(|| damaged("the keyring has no data key"))?;
        let (reserved, _) = self.read_count(view, newest.term)?;
        let left = self.reservation().remaining((newest.epoch, newest.term));
        let messages = reserved.saturating_sub(left);
        Ok(KeyStatus { term: newest.term, installed_ms: newest.installed_ms, messages })
    }

    /// Takes `messages` off this node's reservation and gives the keyring whose term they are for.
    /// Reserves first where too few are left, as an entry of its own.
    pub(crate) async fn take_messages(&self, messages: u64) -> Result<Arc<Keyring>, BarrierError> {
        for _ in 0..=ATTEMPTS_MAX {
            let keyring = self.keyring();
            if !keyring.is_outdated() && self.reservation().take(key_id(&keyring), messages) {
                return Ok(keyring);
            }
            self.reserve_once(messages).await.map_err(nothing_proposed)?;
        }
        Err(LedgerError::Busy.into())
    }

    /// One attempt to own a block of at least `messages` more. A lost race is no error: the caller
    /// looks again whether it still lacks any.
    async fn reserve_once(&self, messages: u64) -> Result<(), BarrierError> {
        let view = self.ledger.view();
        self.follow(&*view)?;
        let keyring = self.keyring();
        if keyring.is_outdated() {
            return self.rotate_once(view).await.map(drop);
        }
        let block = self.limits.block_messages.max(messages);
        let (reserved, revision) = self.read_count(&*view, keyring.term)?;
        if reserved.saturating_add(block) > self.limits.messages_per_key_max {
            return self.rotate_once(view).await.map(drop);
        }
        drop(view);
        let key = places::count(keyring.term);
        let batch = Batch {
            conditions: vec![
                Condition::Key { key: key.clone(), revision },
                // A term that was replaced meanwhile seals nothing more.
                Condition::Key { key: places::keyring(), revision: keyring.revision },
            ],
            writes: vec![self.count_write(keyring.term, reserved + block)],
            ..Batch::default()
        };
        if applied(self.ledger.commit(batch).await?)? {
            self.reservation().add(key_id(&keyring), block);
        }
        Ok(())
    }

    /// One attempt to add a term, with a first block of it for this node. None where the race was
    /// lost.
    async fn rotate_once(&self, view: Arc<dyn LedgerView>) -> Result<Option<u32>, BarrierError> {
        let row = view.get(&places::keyring())?.ok_or(BarrierError::NotInitialized)?;
        let mut record = keyring::decode(&self.keyring_key, &self.cluster_id, &row)?;
        let newest = record.data_keys.iter().map(|key| key.term).max().unwrap_or(0);
        let term = newest.checked_add(1).ok_or_else(|| damaged("there is no term left"))?;
        let epoch = view.epoch();
        record.data_keys.push(keyring::make_data_key(&self.ports, term, view.stamped_ms(), epoch));
        drop(view);
        let batch = Batch {
            conditions: vec![
                Condition::Key { key: places::keyring(), revision: row.revision },
                Condition::Key { key: places::count(term), revision: 0 },
            ],
            writes: vec![
                self.own_write(places::keyring(), RecordKind::Keyring, &keyring::encode(&record)),
                self.count_write(term, self.limits.block_messages),
            ],
            ..Batch::default()
        };
        drop(record);
        if !applied(self.ledger.commit(batch).await?)? {
            return Ok(None);
        }
        self.reservation().add((epoch, term), self.limits.block_messages);
        self.follow(&*self.ledger.view())?;
        Ok(Some(term))
    }

    /// What is reserved under `term`, and the row's revision.
    fn read_count(&self, view: &dyn LedgerView, term: u32) -> Result<(u64, u64), BarrierError> {
        let key = places::count(term);
        let Some(row) = view.get(&key)? else {
            return Ok((0, 0));
        };
        let wrong = || damaged("a message count; rotate the data key after restoring a backup");
        let opened = self.keyring_key.open(&self.cluster_id, &key, RecordKind::Count, &row.value);
        let record = CountRow::decode(opened.map_err(|_| wrong())?.as_slice());
        let record = record.map_err(|_| wrong())?;
        if record.format != FORMAT.into() {
            return Err(damaged("a message count has an unknown format; run a newer version"));
        }
        Ok((record.reserved, row.revision))
    }

    pub(crate) fn count_write(&self, term: u32, reserved: u64) -> Write {
        let record = CountRow { format: FORMAT.into(), reserved };
        self.own_write(places::count(term), RecordKind::Count, &record.encode_to_vec())
    }

    pub(crate) fn own_write(&self, key: Key, kind: RecordKind, plaintext: &[u8]) -> Write {
        let nonce = self.make_nonce();
        let value = self.keyring_key.seal(&self.cluster_id, &key, kind, nonce, plaintext);
        Write { key, value: Some(value) }
    }

    fn reservation(&self) -> MutexGuard<'_, Reservation> {
        self.reservation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the key that seals.
fn key_id(keyring: &Keyring) -> KeyId {
    (keyring.made_in, keyring.term)
}

/// Whether the batch took effect; false where it lost a race.
fn applied(committed: Committed) -> Result<bool, BarrierError> {
    match committed {
        Committed::Applied { .. } => Ok(true),
        Committed::ConditionFailed => Ok(false),
        // Without a request id and a session the ledger has no reason for these.
        Committed::Replayed { .. }
        | Committed::RequestConflict
        | Committed::SessionUnknown
        | Committed::SessionLimit => Err(damaged("the ledger answered another request")),
    }
}

/// A reservation whose outcome is unknown costs at most a block; the transaction that waited for it
/// was not proposed, and its client may simply try again.
fn nothing_proposed(error: BarrierError) -> BarrierError {
    match error {
        BarrierError::Ledger(LedgerError::OutcomeUnknown) => LedgerError::Unavailable.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests;

//! Committing: what a transaction planned, sealed into one batch.

use std::sync::Arc;

use bytes::Bytes;

use crate::aead::{OVERHEAD_BYTES, Place, RecordKind};
use crate::barrier::Barrier;
use crate::error::BarrierError;
use crate::keyring::Keyring;
use crate::ledger::{Batch, Committed, Condition, Key, LedgerError, RequestId, Write};
use crate::path::{MountId, NamespaceId};
use crate::places;
use crate::transaction::{Pending, Transaction};

/// What one log entry may have: a value of the largest size and a good deal beside it.
const BATCH_BYTES_MAX: usize = (1 << 20) + (256 << 10);
/// The largest response kept for a replay.
const REPLY_BYTES_MAX: usize = 4096;

/// A request id before its reply is sealed.
#[derive(Debug, Clone)]
pub struct RequestTag {
    /// Which session.
    pub session: Bytes,
    /// The request's number in it.
    pub sequence: u64,
    /// The lowest number the client still asks about.
    pub low_water: u64,
    /// What the request says, under [`crate::HashPurpose::Fingerprint`].
    pub fingerprint: [u8; 32],
    /// The response to seal for a replay. One above 4 KiB is not kept: a replay then says
    /// that the request was applied, with an empty reply.
    pub reply: Bytes,
}

/// What became of a transaction.
#[derive(Debug)]
pub enum CommitOutcome {
    /// It took effect.
    Applied {
        /// The log index; the view's revision where there was nothing to write.
        revision: u64,
    },
    /// Lost a race: run the request again on a new view.
    ConditionFailed,
    /// The same request took effect before.
    Replayed {
        /// At this revision.
        revision: u64,
        /// The opened reply of the first run; empty where it was too long to keep.
        reply: Bytes,
    },
    /// The request id was used for another request.
    RequestConflict,
    /// The session is unknown or ended: whether the request ran before is unknown.
    SessionUnknown,
    /// The owner has too many sessions.
    SessionLimit,
}

impl Transaction {
    /// Seals and commits all of it as one entry. Without a write and without a tag there is no
    /// entry, and so no condition is checked: whoever answers needs a read barrier instead. A tag
    /// alone makes an entry, because only the ledger knows whether the same request ran before.
    ///
    /// # Errors
    /// `Ledger`, with `TooLarge` before anything is sealed; `Damaged` where a replayed reply does
    /// not open.
    pub async fn commit(self, tag: Option<RequestTag>) -> Result<CommitOutcome, BarrierError> {
        if self.is_empty() && tag.is_none() {
            return Ok(CommitOutcome::Applied { revision: self.view.revision() });
        }
        let tag = tag.as_ref();
        self.check_size(tag)?;
        let barrier = Arc::clone(&self.barrier);
        // A restore may have put another keyring into this view since this node last looked. What
        // was planned on an older view than the keyring's fails by its conditions.
        barrier.follow(&*self.view)?;
        let keyring = match self.messages(tag) {
            0 => barrier.keyring(),
            messages => barrier.take_messages(messages).await?,
        };
        let mut batch = self.seal(&keyring, tag);
        if batch.conditions.is_empty() {
            // A blind write has nothing else that a restore would make fail, and it must not be
            // sealed under a key that the restore took away.
            let key = places::keyring();
            batch.conditions.push(Condition::Key { key, revision: keyring.revision });
        }
        drop(keyring);
        let committed = barrier.ledger.commit(batch).await?;
        barrier.outcome(committed, tag)
    }

    /// How many messages [`Self::seal`] seals: what must be counted before.
    pub(crate) fn messages(&self, tag: Option<&RequestTag>) -> u64 {
        let puts = self.writes.values().filter(|pending| pending.value.is_some()).count();
        puts as u64 + u64::from(tag.is_some_and(|tag| !kept(&tag.reply).is_empty()))
    }

    /// All of it as one batch. The view is given up: an open one keeps undo records alive below.
    pub(crate) fn seal(self, keyring: &Keyring, tag: Option<&RequestTag>) -> Batch {
        let Self { barrier, view: _, rows, directories, writes, session } = self;
        let rows = rows.into_iter().map(|(key, revision)| Condition::Key { key, revision });
        let directories = directories
            .into_iter()
            .map(|(directory, revision)| Condition::Children { directory, revision });
        Batch {
            request_id: tag.map(|tag| barrier.seal_tag(keyring, tag)),
            conditions: rows.chain(directories).collect(),
            writes: writes
                .into_iter()
                .map(|(key, pending)| barrier.seal_write(keyring, key, &pending))
                .collect(),
            event: None,
            session,
        }
    }

    fn check_size(&self, tag: Option<&RequestTag>) -> Result<(), BarrierError> {
        let writes = self.writes.iter().map(|(key, pending)| write_bytes(key, pending));
        let bytes = writes.sum::<usize>() + tag.map_or(0, |tag| kept(&tag.reply).len());
        if bytes > BATCH_BYTES_MAX {
            return Err(LedgerError::TooLarge { bytes, bytes_max: BATCH_BYTES_MAX }.into());
        }
        Ok(())
    }
}

impl Barrier {
    fn seal_write(&self, keyring: &Keyring, key: Key, pending: &Pending) -> Write {
        let value = pending.value.as_ref().map(|value| {
            let place = pending.place(&self.cluster_id, &key);
            keyring.sealing_key().seal(keyring.term, self.make_nonce(), &place, value)
        });
        Write { key, value }
    }

    fn seal_tag(&self, keyring: &Keyring, tag: &RequestTag) -> RequestId {
        let reply = kept(&tag.reply);
        let sealed = if reply.is_empty() {
            Bytes::new()
        } else {
            let name = reply_name(tag);
            let place = reply_place(&self.cluster_id, &name);
            keyring.sealing_key().seal(keyring.term, self.make_nonce(), &place, reply)
        };
        RequestId {
            session: tag.session.clone(),
            sequence: tag.sequence,
            low_water: tag.low_water,
            fingerprint: Bytes::copy_from_slice(&tag.fingerprint),
            reply: sealed,
        }
    }

    fn outcome(
        &self,
        committed: Committed,
        tag: Option<&RequestTag>,
    ) -> Result<CommitOutcome, BarrierError> {
        Ok(match committed {
            Committed::Applied { revision } => CommitOutcome::Applied { revision },
            Committed::ConditionFailed => CommitOutcome::ConditionFailed,
            Committed::RequestConflict => CommitOutcome::RequestConflict,
            Committed::SessionUnknown => CommitOutcome::SessionUnknown,
            Committed::SessionLimit => CommitOutcome::SessionLimit,
            Committed::Replayed { revision, reply } => {
                let reply = self.open_reply(tag, &reply)?;
                CommitOutcome::Replayed { revision, reply }
            }
        })
    }

    fn open_reply(&self, tag: Option<&RequestTag>, reply: &Bytes) -> Result<Bytes, BarrierError> {
        let Some(tag) = tag.filter(|_| !reply.is_empty()) else {
            return Ok(Bytes::new());
        };
        let name = reply_name(tag);
        let view = self.ledger.view();
        self.open_record(&*view, &reply_place(&self.cluster_id, &name), reply)
    }
}

/// The reply as it is kept: whole or not at all.
fn kept(reply: &Bytes) -> &[u8] {
    if reply.len() > REPLY_BYTES_MAX { &[] } else { reply }
}

/// A reply is bound to the request it answers.
fn reply_name(tag: &RequestTag) -> [Bytes; 3] {
    [
        tag.session.clone(),
        Bytes::copy_from_slice(&tag.sequence.to_be_bytes()),
        Bytes::copy_from_slice(&tag.fingerprint),
    ]
}

fn reply_place<'a>(cluster_id: &'a [u8; 16], name: &'a [Bytes; 3]) -> Place<'a> {
    let (namespace, mount) = (NamespaceId::ROOT, MountId::CORE);
    Place { cluster_id, namespace, mount, name, kind: RecordKind::Reply }
}

/// What a write takes in the entry, about: enough to refuse a batch before sealing it. The ledger
/// checks the exact size.
fn write_bytes(key: &Key, pending: &Pending) -> usize {
    let name: usize = key.segments.iter().map(|segment| segment.len() + 2).sum();
    name + pending.value.as_ref().map_or(0, |value| value.len() + OVERHEAD_BYTES)
}

#[cfg(test)]
mod tests;

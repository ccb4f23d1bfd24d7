//! A barrier that no ledger holds yet, and the one entry by which a cluster begins.

use std::sync::Arc;

use conclave_memory::SecretKey;
use conclave_ports::Ports;

use crate::aead::RecordKind;
use crate::barrier::Barrier;
use crate::error::BarrierError;
use crate::keyring;
use crate::ledger::{Committed, Condition, Ledger, Write};
use crate::places;
use crate::records::keyring::KeyringRow;
use crate::seal_record::{self, NewRecipient, RootKey, seal_record, wrap_root_key};
use crate::transaction::Transaction;

/// Keys that were just made. Dropped before [`Self::commit`], they leave no trace.
pub struct NewBarrier {
    barrier: Arc<Barrier>,
    seal_row: Write,
    keyring: KeyringRow,
}

impl NewBarrier {
    /// Makes the keys of a new cluster.
    ///
    /// **There is at least one recipient**: a root key that nothing wraps would be lost.
    ///
    /// # Errors
    /// `AlreadyInitialized`, `Ledger`.
    pub fn make(
        ledger: Arc<dyn Ledger>,
        ports: Ports,
        cluster_id: [u8; 16],
        cluster_name: &str,
        recipients: Vec<NewRecipient>,
    ) -> Result<Self, BarrierError> {
        assert!(!recipients.is_empty(), "a root key needs somebody who can open it");
        let view = ledger.view();
        if seal_record(&*view)?.is_some() {
            return Err(BarrierError::AlreadyInitialized);
        }
        let root_key = RootKey::new(SecretKey::fill_with(|key| ports.rng.fill(key)));
        let wrapped = recipients.iter().map(|recipient| {
            wrap_root_key(&root_key, &cluster_id, recipient, ports.random::<12>())
        });
        let seal_row = seal_record::encode(&cluster_id, cluster_name, wrapped.collect());
        let keyring = keyring::make_keyring(&ports, view.stamped_ms(), view.epoch());
        let read = (&keyring, 0, view.epoch());
        drop(view);
        let barrier = Barrier::with_keyring(ledger, ports, cluster_id, root_key, read)?;
        let seal_row = Write { key: places::seal(), value: Some(seal_row) };
        Ok(Self { barrier: Arc::new(barrier), seal_row, keyring })
    }

    /// The barrier that the ledger will hold.
    pub fn barrier(&self) -> &Arc<Barrier> {
        &self.barrier
    }

    /// The cluster's time where none was stamped yet: since when its first data key seals.
    pub fn begins_at(&mut self, now_ms: u64) {
        self.keyring.data_keys.iter_mut().for_each(|key| key.installed_ms = now_ms);
    }

    /// A transaction for what the cluster begins with.
    pub fn transaction(&self) -> Transaction {
        self.barrier.transaction(self.barrier.ledger.view())
    }

    /// Writes seal record, keyring and what `first` holds in one batch that requires an empty
    /// ledger: a cluster has all of it or was never made.
    ///
    /// # Errors
    /// `AlreadyInitialized`; `Ledger`, where `OutcomeUnknown` means that the keys just made may or
    /// may not be the cluster's.
    pub async fn commit(self, first: Transaction) -> Result<Arc<Barrier>, BarrierError> {
        let Self { barrier, seal_row, keyring: row } = self;
        let row = keyring::encode(&row);
        let row = barrier.own_write(places::keyring(), RecordKind::Keyring, &row);
        let keyring = barrier.keyring();
        let messages = first.messages(None);
        let mut batch = first.seal(&keyring, None);
        batch.conditions.extend([
            Condition::Key { key: places::seal(), revision: 0 },
            Condition::Key { key: places::keyring(), revision: 0 },
            Condition::Children { directory: Vec::new(), revision: 0 },
        ]);
        batch.writes.extend([seal_row, row]);
        if messages > 0 {
            batch.writes.push(barrier.count_write(keyring.term, messages));
        }
        drop(keyring);
        match barrier.ledger.commit(batch).await? {
            Committed::Applied { .. } => barrier.follow(&*barrier.ledger.view())?,
            _ => return Err(BarrierError::AlreadyInitialized),
        }
        Ok(barrier)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::testing::{CLUSTER_ID, MemoryLedger, block_on, path, ports, static_recipient};

    fn new_barrier(ledger: &Arc<MemoryLedger>) -> NewBarrier {
        let recipients = vec![static_recipient(9)];
        NewBarrier::make(ledger.port(), ports(42), CLUSTER_ID, "test", recipients).unwrap()
    }

    #[test]
    fn a_cluster_begins_with_all_it_is_given_in_one_entry() {
        let ledger = MemoryLedger::new();
        let new = new_barrier(&ledger);
        let mut first = new.transaction();
        first.put(&path("a"), Bytes::from_static(b"value")).unwrap();
        let barrier = block_on(new.commit(first)).unwrap();
        let log = ledger.log();
        assert_eq!(log.len(), 1);
        assert_eq!(log[0].writes.len(), 4, "seal record, keyring, message count and the row");
        let mut tx = barrier.transaction(ledger.view());
        assert_eq!(tx.get(&path("a")).unwrap().unwrap().value.as_ref(), b"value");
        tx.put(&path("b"), Bytes::new()).unwrap();
        block_on(tx.commit(None)).unwrap();
    }

    #[test]
    fn keys_that_were_not_committed_leave_no_trace() {
        let ledger = MemoryLedger::new();
        drop(new_barrier(&ledger));
        assert!(ledger.log().is_empty());
        let new = new_barrier(&ledger);
        let first = new.transaction();
        block_on(new.commit(first)).unwrap();
    }
}

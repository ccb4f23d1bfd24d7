//! Rekeying: another seal key comes to open the root key, and the old one no longer does.

use crate::barrier::Barrier;
use crate::error::BarrierError;
use crate::ledger::{Batch, Committed, Condition, LedgerError, Write};
use crate::places;
use crate::seal_record::{self, Recipient, SealRecord, seal_record};

impl Barrier {
    /// Puts `recipient` in the place of the one of its kind, in the seal record of this revision, by
    /// one entry: before it the old key opens the root key, after it the new one, at no time both or
    /// none. False where the record is another one by now.
    ///
    /// May be called again where an outcome was unknown: a record that has the recipient is success.
    ///
    /// # Errors
    /// `Ledger`, where `OutcomeUnknown` means that either key may be the one that opens;
    /// `NotInitialized`, `Damaged`.
    pub async fn replace_recipient(
        &self,
        recipient: &Recipient,
        revision: u64,
    ) -> Result<bool, BarrierError> {
        let record = self.record()?;
        if record.recipients.contains(recipient) || record.revision != revision {
            return Ok(record.recipients.contains(recipient));
        }
        let others = record.recipients.into_iter().filter(|other| other.kind != recipient.kind);
        let recipients = others.chain([recipient.clone()]).collect();
        let row = seal_record::encode(&record.cluster_id, &record.cluster_name, recipients);
        let key = places::seal();
        let batch = Batch {
            conditions: vec![Condition::Key { key: key.clone(), revision }],
            writes: vec![Write { key, value: Some(row) }],
            ..Batch::default()
        };
        match self.ledger.commit(batch).await {
            Ok(Committed::Applied { .. }) => Ok(true),
            Ok(_) => Ok(self.record()?.recipients.contains(recipient)),
            // Another leader may have taken over with the entry or without it, which a read barrier
            // tells; and the new key must not be lost while it is the one that opens.
            Err(LedgerError::OutcomeUnknown) => {
                let asked = self.ledger.read_barrier().await;
                asked.map_err(|_| LedgerError::OutcomeUnknown)?;
                let replaced = self.record()?.recipients.contains(recipient);
                if replaced { Ok(true) } else { Err(LedgerError::OutcomeUnknown.into()) }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn record(&self) -> Result<SealRecord, BarrierError> {
        seal_record(&*self.ledger.view())?.ok_or(BarrierError::NotInitialized)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seal_record::{NewRecipient, SealKey, make_recipient, unwrap_root_key};
    use crate::testing::{CLUSTER_ID, MemoryLedger, block_on, initialised, key32, ports};

    /// Another key of the kind that `initialised` uses.
    fn recipient(barrier: &Barrier, byte: u8) -> Recipient {
        let key = SealKey::new(key32(byte));
        let new = NewRecipient { kind: "static".to_owned(), shares: 1, threshold: 1, key };
        make_recipient(barrier.root_key(), &CLUSTER_ID, &new, &*ports(byte.into()).rng)
    }

    fn opens(ledger: &MemoryLedger, byte: u8) -> bool {
        let record = seal_record(&*ledger.view()).unwrap().unwrap();
        assert_eq!(record.recipients.len(), 1);
        unwrap_root_key(&record, 0, &SealKey::new(key32(byte))).is_ok()
    }

    fn begun() -> (Arc<MemoryLedger>, Barrier, u64) {
        let ledger = MemoryLedger::new();
        let barrier = initialised(&ledger);
        let revision = barrier.record().unwrap().revision;
        (ledger, barrier, revision)
    }

    use crate::ledger::Ledger as _;

    #[test]
    fn the_new_key_opens_and_the_old_one_does_not() {
        let (ledger, barrier, revision) = begun();
        let new = recipient(&barrier, 21);
        let entries = ledger.log().len();
        assert!(!opens(&ledger, 21));
        assert!(block_on(barrier.replace_recipient(&new, revision)).unwrap());
        assert_eq!(ledger.log().len(), entries + 1);
        assert!(opens(&ledger, 21));
        assert!(block_on(barrier.replace_recipient(&new, revision)).unwrap(), "asked again");
        assert_eq!(ledger.log().len(), entries + 1, "nothing is left to do");
    }

    #[test]
    fn of_two_rivals_one_wins() {
        let (ledger, barrier, revision) = begun();
        let (first, second) = (recipient(&barrier, 21), recipient(&barrier, 22));
        assert!(block_on(barrier.replace_recipient(&first, revision)).unwrap());
        assert!(!block_on(barrier.replace_recipient(&second, revision)).unwrap());
        assert!(opens(&ledger, 21) && !opens(&ledger, 22));
    }

    #[test]
    fn what_was_not_committed_changes_nothing_and_may_be_tried_again() {
        let (ledger, barrier, revision) = begun();
        let new = recipient(&barrier, 21);
        ledger.fail_next(LedgerError::OutcomeUnknown);
        let tried = block_on(barrier.replace_recipient(&new, revision));
        assert!(matches!(tried, Err(BarrierError::Ledger(LedgerError::OutcomeUnknown))));
        assert!(!opens(&ledger, 21));
        assert!(block_on(barrier.replace_recipient(&new, revision)).unwrap());
        assert!(opens(&ledger, 21));
    }
}

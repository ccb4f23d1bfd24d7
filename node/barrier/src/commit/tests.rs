use std::sync::Arc;

use super::*;
use crate::ledger::{Ledger, SessionChange};
use crate::testing::{MemoryLedger, block_on, golden, initialised, opened, path};

fn cluster() -> (Arc<MemoryLedger>, Arc<Barrier>) {
    let ledger = MemoryLedger::new();
    let barrier = Arc::new(initialised(&ledger));
    block_on(barrier.maintain()).unwrap();
    (ledger, barrier)
}

fn tag(sequence: u64, reply: &[u8]) -> RequestTag {
    RequestTag {
        session: Bytes::from_static(b"session"),
        sequence,
        low_water: 1,
        fingerprint: [5; 32],
        reply: Bytes::copy_from_slice(reply),
    }
}

fn open_session(ledger: &MemoryLedger, barrier: &Arc<Barrier>) {
    let mut tx = barrier.transaction(ledger.view());
    tx.open_session(Bytes::from_static(b"session"), [1; 32], 1000);
    assert!(!tx.is_empty());
    block_on(tx.commit(None)).unwrap();
}

fn put(
    ledger: &MemoryLedger,
    barrier: &Arc<Barrier>,
    tag: Option<RequestTag>,
) -> Result<CommitOutcome, BarrierError> {
    let mut tx = barrier.transaction(ledger.view());
    tx.put(&path("a"), Bytes::from_static(b"value")).unwrap();
    block_on(tx.commit(tag))
}

#[test]
fn reads_become_conditions_once_each() {
    let (ledger, barrier) = cluster();
    put(&ledger, &barrier, None).unwrap();
    let mut tx = barrier.transaction(ledger.view());
    for _ in 0..3 {
        tx.get(&path("a")).unwrap();
        tx.get(&path("absent")).unwrap();
        tx.list(&path(""), None, 1).unwrap();
        tx.list(&path("none"), None, 1).unwrap();
    }
    let revision = ledger.view().revision();
    tx.put(&path("b"), Bytes::new()).unwrap();
    block_on(tx.commit(None)).unwrap();
    let batch = ledger.log().pop().unwrap();
    let mut revisions: Vec<u64> = batch
        .conditions
        .iter()
        .map(|condition| match condition {
            Condition::Key { revision, .. } | Condition::Children { revision, .. } => *revision,
        })
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [0, 0, revision, revision], "{:?}", batch.conditions);
    assert_eq!(batch.writes.len(), 1);
}

#[test]
fn a_lost_race_writes_nothing() {
    let (ledger, barrier) = cluster();
    put(&ledger, &barrier, None).unwrap();
    let mut tx = barrier.transaction(ledger.view());
    tx.get(&path("a")).unwrap();
    tx.put(&path("b"), Bytes::new()).unwrap();
    put(&ledger, &barrier, None).unwrap();
    assert!(matches!(block_on(tx.commit(None)), Ok(CommitOutcome::ConditionFailed)));
    assert!(barrier.transaction(ledger.view()).get(&path("b")).unwrap().is_none());
}

/// A row that was absent when read must still be absent; a directory that was listed, unchanged.
#[test]
fn absence_and_listings_are_guarded() {
    let (ledger, barrier) = cluster();
    let mut absent = barrier.transaction(ledger.view());
    assert!(absent.get(&path("a")).unwrap().is_none());
    let mut listed = barrier.transaction(ledger.view());
    assert!(listed.list(&path(""), None, 9).unwrap().names.is_empty());
    put(&ledger, &barrier, None).unwrap();
    for mut tx in [absent, listed] {
        tx.put(&path("b"), Bytes::new()).unwrap();
        assert!(matches!(block_on(tx.commit(None)), Ok(CommitOutcome::ConditionFailed)));
    }
    // Overwriting a row does not disturb who listed its directory.
    let mut tx = barrier.transaction(ledger.view());
    tx.list(&path(""), None, 9).unwrap();
    tx.put(&path("c"), Bytes::new()).unwrap();
    put(&ledger, &barrier, None).unwrap();
    assert!(matches!(block_on(tx.commit(None)), Ok(CommitOutcome::Applied { .. })));
}

/// A directory that only deletes below it made look empty is guarded too.
#[test]
fn a_directory_looked_into_is_guarded() {
    let (ledger, barrier) = cluster();
    let mut tx = barrier.transaction(ledger.view());
    tx.put(&path("d/x"), Bytes::new()).unwrap();
    block_on(tx.commit(None)).unwrap();
    let mut tx = barrier.transaction(ledger.view());
    tx.delete(&path("d/x")).unwrap();
    assert!(tx.list(&path(""), None, 9).unwrap().names.is_empty());
    let mut other = barrier.transaction(ledger.view());
    other.put(&path("d/y"), Bytes::new()).unwrap();
    block_on(other.commit(None)).unwrap();
    assert!(matches!(block_on(tx.commit(None)), Ok(CommitOutcome::ConditionFailed)));
}

#[test]
fn a_replay_gets_the_first_reply_on_any_node() {
    let (ledger, barrier) = cluster();
    open_session(&ledger, &barrier);
    let follower = Arc::new(opened(&ledger, &barrier, 8));
    block_on(barrier.rotate()).unwrap();
    let first = put(&ledger, &barrier, Some(tag(1, b"the reply"))).unwrap();
    let CommitOutcome::Applied { revision } = first else { panic!("{first:?}") };
    // The follower has not heard of the rotation; a race lost meanwhile does not matter either.
    let again = put(&ledger, &follower, Some(tag(1, b"another reply"))).unwrap();
    let CommitOutcome::Replayed { revision: at, reply } = again else { panic!("{again:?}") };
    assert_eq!((at, reply.as_ref()), (revision, &b"the reply"[..]));
    let conflict = RequestTag { fingerprint: [6; 32], ..tag(1, b"") };
    let conflict = put(&ledger, &barrier, Some(conflict)).unwrap();
    assert!(matches!(conflict, CommitOutcome::RequestConflict));
    let batches = ledger.log();
    let stored = batches.iter().find_map(|batch| batch.request_id.as_ref()).unwrap();
    assert!(!stored.reply.windows(5).any(|window| window == b"reply"), "the reply is sealed");
}

#[test]
fn a_reply_belongs_to_its_request() {
    let (ledger, barrier) = cluster();
    open_session(&ledger, &barrier);
    put(&ledger, &barrier, Some(tag(1, b"one"))).unwrap();
    let batches = ledger.log();
    let sealed = batches.iter().find_map(|batch| batch.request_id.as_ref()).unwrap();
    let others = [
        tag(2, b""),
        RequestTag { session: Bytes::from_static(b"other"), ..tag(1, b"") },
        RequestTag { fingerprint: [6; 32], ..tag(1, b"") },
    ];
    for other in &others {
        let moved = barrier.open_reply(Some(other), &sealed.reply);
        assert!(matches!(moved, Err(BarrierError::Damaged(_))));
    }
    assert_eq!(barrier.open_reply(Some(&tag(1, b"")), &sealed.reply).unwrap(), "one");
}

#[test]
fn a_long_reply_is_not_kept() {
    let (ledger, barrier) = cluster();
    open_session(&ledger, &barrier);
    for (sequence, len, kept) in [(1, 4096, 4096), (2, 4097, 0), (3, 0, 0)] {
        put(&ledger, &barrier, Some(tag(sequence, &vec![7; len]))).unwrap();
        let again = put(&ledger, &barrier, Some(tag(sequence, b""))).unwrap();
        let CommitOutcome::Replayed { reply, .. } = again else { panic!("{again:?}") };
        assert_eq!(reply.len(), kept);
    }
}

#[test]
fn sessions_open_and_close_with_the_commit() {
    let (ledger, barrier) = cluster();
    let unknown = put(&ledger, &barrier, Some(tag(1, b""))).unwrap();
    assert!(matches!(unknown, CommitOutcome::SessionUnknown));
    open_session(&ledger, &barrier);
    let opened = ledger.log().pop().unwrap().session;
    assert!(
        matches!(opened, Some(SessionChange::Open { owner, ttl_ms: 1000, .. }) if owner == [1; 32][..])
    );
    let known = put(&ledger, &barrier, Some(tag(1, b""))).unwrap();
    assert!(matches!(known, CommitOutcome::Applied { .. }));
    let mut tx = barrier.transaction(ledger.view());
    tx.close_session(Bytes::from_static(b"session"));
    block_on(tx.commit(None)).unwrap();
    let unknown = put(&ledger, &barrier, Some(tag(2, b""))).unwrap();
    assert!(matches!(unknown, CommitOutcome::SessionUnknown));
}

#[test]
fn an_entry_has_a_limit() {
    let (ledger, barrier) = cluster();
    let mut tx = barrier.transaction(ledger.view());
    for row in 0..3 {
        tx.put(&path(&format!("row{row}")), vec![0; 500_000].into()).unwrap();
    }
    let entries = ledger.log().len();
    let refused = block_on(tx.commit(None));
    assert!(matches!(refused, Err(BarrierError::Ledger(LedgerError::TooLarge { .. }))));
    assert_eq!(ledger.log().len(), entries);
    let mut tx = barrier.transaction(ledger.view());
    tx.put(&path("row"), vec![0; crate::VALUE_BYTES_MAX].into()).unwrap();
    block_on(tx.commit(None)).unwrap();
    let largest = ledger.log().pop().unwrap().writes.remove(0).value.unwrap();
    assert_eq!(largest.len(), 1 << 20, "sealed, the largest value is what the ledger takes");
}

#[test]
fn errors_of_the_ledger_are_handed_on() {
    let (ledger, barrier) = cluster();
    for error in [LedgerError::NotLeader, LedgerError::OutcomeUnknown, LedgerError::Busy] {
        ledger.fail_next(error.clone());
        let failed = put(&ledger, &barrier, None);
        assert!(matches!(failed, Err(BarrierError::Ledger(got)) if got == error));
    }
}

#[test]
fn the_layout_is_as_drawn() {
    let (_, barrier) = cluster();
    let tag = tag(3, b"reply");
    let name = reply_name(&tag);
    let place = reply_place(&barrier.cluster_id, &name);
    golden("reply.txt", &[("associated data", &place.associated_data(1))]);
}

/// A multi-threaded runtime may run it.
#[test]
fn a_commit_may_move_between_threads() {
    fn assert_send(_: impl Send) {}
    let (ledger, barrier) = cluster();
    assert_send(barrier.transaction(ledger.view()).commit(None));
    assert_send(barrier.maintain());
    assert_send(barrier.rotate());
}

/// Two clients that count up one row, each on its own view, lose no increment.
#[test]
fn racing_increments_all_count() {
    let (ledger, barrier) = cluster();
    let plan = || {
        let mut tx = barrier.transaction(ledger.view());
        let count = tx.get(&path("count")).unwrap().map_or(0, |plain| plain.value[0]);
        tx.put(&path("count"), vec![count + 1].into()).unwrap();
        tx
    };
    let mut applied = 0;
    while applied < 100 {
        let racing = [plan(), plan(), plan()];
        let won = racing
            .into_iter()
            .map(|tx| block_on(tx.commit(None)).unwrap())
            .filter(|outcome| matches!(outcome, CommitOutcome::Applied { .. }))
            .count();
        assert_eq!(won, 1);
        applied += won;
    }
    let mut tx = barrier.transaction(ledger.view());
    assert_eq!(tx.get(&path("count")).unwrap().unwrap().value[0], 100);
}

/// Whether the same request ran before is known below only.
#[test]
fn a_tag_alone_makes_an_entry_and_nothing_at_all_makes_none() {
    let (ledger, barrier) = cluster();
    open_session(&ledger, &barrier);
    let entries = ledger.log().len();
    let commit = |tag| block_on(barrier.transaction(ledger.view()).commit(tag)).unwrap();
    let at = ledger.view().revision();
    assert!(matches!(commit(None), CommitOutcome::Applied { revision } if revision == at));
    assert_eq!(ledger.log().len(), entries);
    assert!(matches!(commit(Some(tag(1, b"first"))), CommitOutcome::Applied { .. }));
    assert_eq!(ledger.log().len(), entries + 1);
    let CommitOutcome::Replayed { reply, .. } = commit(Some(tag(1, b"again"))) else {
        panic!("the ledger remembers the request")
    };
    assert_eq!(reply.as_ref(), b"first");
}

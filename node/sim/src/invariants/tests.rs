use bytes::Bytes;
use conclave_proto::v1::entry::Payload;

use super::*;

fn entry(index: u64, term: u64, text: &'static [u8]) -> Entry {
    let payload = Some(Payload::Command(Bytes::from_static(text)));
    Entry { id: Some(LogId { term, index, leader_id: 1 }), payload }
}

fn invariant(checked: Checked) -> &'static str {
    checked.expect_err("it is violated").invariant
}

fn live(version: u64) -> KeyState {
    KeyState { version, deleted: false }
}

#[test]
fn two_leaders_of_a_term_are_found() {
    let mut replicas = Replicas::default();
    assert_eq!(replicas.leads(3, 1), Ok(true));
    assert_eq!(replicas.leads(3, 1), Ok(false));
    assert_eq!(replicas.leads(4, 2), Ok(true));
    assert_eq!(invariant(replicas.leads(3, 2).map(drop)), ONE_LEADER);
}

#[test]
fn another_entry_at_the_same_place_is_found() {
    let mut replicas = Replicas::default();
    replicas.holds_entry(1, Some(1), &entry(5, 2, b"a")).unwrap();
    replicas.holds_entry(2, None, &entry(5, 2, b"a")).unwrap();
    replicas.holds_entry(2, None, &entry(5, 3, b"b")).unwrap();
    assert_eq!(invariant(replicas.holds_entry(3, Some(1), &entry(5, 2, b"b"))), LOG_MATCHING);
    assert_eq!(invariant(replicas.holds_entry(3, Some(2), &entry(5, 2, b"a"))), LOG_MATCHING);
}

#[test]
fn states_that_differ_are_found() {
    let mut replicas = Replicas::default();
    let id = LogId { term: 2, index: 9, leader_id: 1 };
    replicas.applied(1, id, StateHash([1; 64])).unwrap();
    replicas.applied(2, id, StateHash([1; 64])).unwrap();
    assert_eq!(invariant(replicas.applied(3, id, StateHash([2; 64]))), EQUAL_STATE);
    let other = LogId { term: 3, index: 9, leader_id: 1 };
    assert_eq!(invariant(replicas.applied(3, other, StateHash([1; 64]))), LOG_MATCHING);
}

#[test]
fn an_old_read_is_found() {
    let mut history = History::default();
    let (write, early) = (history.begin("k"), history.begin("k"));
    history.wrote(&write, 1, 1, None).unwrap();
    history.read(&early, live(0), None).unwrap();
    let late = history.begin("k");
    assert_eq!(invariant(history.read(&late, live(0), None)), NO_OLD_READ);
    history.read(&late, live(1), Some(1)).unwrap();
}

#[test]
fn what_one_read_saw_the_next_one_sees() {
    let mut history = History::default();
    let first = history.begin("k");
    history.read(&first, live(4), Some(7)).unwrap();
    let second = history.begin("k");
    assert_eq!(invariant(history.read(&second, live(3), Some(6))), NO_OLD_READ);
}

#[test]
fn an_old_revision_is_found_whatever_the_key() {
    let mut history = History::default();
    let early = history.begin("a");
    history.answered(&early, 20).unwrap();
    let late = history.begin("b");
    history.answered(&early, 10).unwrap();
    assert_eq!(invariant(history.answered(&late, 19)), NO_OLD_READ);
}

#[test]
fn a_lost_write_is_found() {
    let mut history = History::default();
    let began = history.begin("k");
    history.wrote(&began, 1, 1, None).unwrap();
    let began = history.begin("k");
    assert_eq!(invariant(history.wrote(&began, 2, 1, None)), NOTHING_LOST);
    assert_eq!(invariant(history.read(&began, live(1), Some(2))), NOTHING_LOST);
    assert_eq!(invariant(history.listed(&began, &BTreeSet::new())), NOTHING_LOST);
}

#[test]
fn a_version_given_twice_is_found() {
    let mut history = History::default();
    let (one, two) = (history.begin("k"), history.begin("k"));
    history.wrote(&one, 1, 1, Some(0)).unwrap();
    assert_eq!(invariant(history.wrote(&two, 2, 1, Some(0))), ONE_VERSION);
    assert_eq!(invariant(history.wrote(&two, 3, 3, Some(1))), ONE_VERSION);
}

#[test]
fn a_write_executed_twice_is_found() {
    let mut history = History::default();
    let began = history.begin("k");
    history.wrote(&began, 1, 1, None).unwrap();
    assert_eq!(invariant(history.read(&began, live(2), Some(1))), ONE_VERSION);
}

#[test]
fn a_refused_write_that_shows_is_found() {
    let mut history = History::default();
    let began = history.begin("k");
    history.refused(1).unwrap();
    assert_eq!(invariant(history.read(&began, live(1), Some(1))), REFUSED_IS_NOTHING);
    history.read(&began, live(2), Some(2)).unwrap();
    assert_eq!(invariant(history.refused(2)), REFUSED_IS_NOTHING);
}

#[test]
fn a_deletion_is_neither_lost_nor_made_up() {
    let mut history = History::default();
    let began = history.begin("k");
    history.wrote(&began, 1, 1, None).unwrap();
    let gone = KeyState { version: 1, deleted: true };
    assert_eq!(invariant(history.read(&began, gone, None)), NOTHING_LOST);
    let delete = history.begin_delete("k");
    history.read(&delete, gone, None).unwrap();
    history.deleted(&delete);
    let late = history.begin("k");
    assert_eq!(invariant(history.read(&late, live(1), Some(1))), NO_OLD_READ);
    history.read(&late, live(2), Some(2)).unwrap();
}

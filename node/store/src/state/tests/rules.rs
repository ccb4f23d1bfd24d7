//! Entries that stop a node, commands that are refused, bounds that hold.

use super::*;
use crate::v1::{Membership, VoterSet};

fn unknown(result: Result<Outcome, StateError>) -> bool {
    matches!(result, Err(StateError::Unknown { .. }))
}

#[test]
fn what_is_not_understood_whole_stops_the_node() {
    let state = fresh();
    let good = entry_at(1, &writes(vec![put("k", "v")]));
    let with = |bytes: Vec<u8>| {
        let payload = Some(entry::Payload::Command(Bytes::from(bytes)));
        Entry { payload, ..good.clone() }
    };
    let command = writes(vec![put("k", "v")]).encode_to_vec();

    assert!(unknown(state.apply(&Entry { payload: None, ..good.clone() })));
    assert!(unknown(state.apply(&Entry { id: None, ..good.clone() })));
    assert!(unknown(state.apply(&with(vec![0xff; 9]))));
    assert!(unknown(state.apply(&with(command[..command.len() - 1].to_vec()))));
    // Field 100, which a later version may mean something by.
    assert!(unknown(state.apply(&with([&command[..], &[0xa0, 0x06, 0x01]].concat()))));
    // A condition of a later kind: field 3 inside a condition.
    assert!(unknown(state.apply(&with([&command[..], &[0x12, 0x02, 0x1a, 0x00]].concat()))));
    let zero = Some(LogId { term: 0, leader_id: 0, index: 0 });
    assert!(unknown(state.apply(&Entry { id: zero, ..good.clone() })));

    assert_eq!(state.applied().log_id, None);
    assert_eq!(state.applied().state_hash, StateHash::default());
    assert_eq!(state.apply(&good).unwrap(), Outcome::Applied { revision: 1 });
    assert!(unknown(state.apply(&good)), "twice");
    assert!(unknown(state.apply(&entry_at(3, &Command::default()))), "a gap");
}

#[test]
fn membership_is_kept_with_its_entry() {
    let engine = Arc::new(MemoryEngine::new());
    let state = open(&engine).unwrap();
    let configs = vec![VoterSet { node_ids: vec![1, 2, 3] }];
    let membership = Membership { configs, members: Vec::new() };
    let mut entry = entry_at(0, &Command::default());
    entry.payload = Some(entry::Payload::Membership(membership.clone()));
    assert_eq!(state.apply(&entry).unwrap(), Outcome::Nothing);
    run(&state, &Command { stamped_ms: 77, ..Command::default() });
    assert!(!state.flush().unwrap());

    let applied = open(&engine).unwrap().applied();
    let stored = applied.membership.unwrap();
    assert_eq!(stored.log_id, entry.id);
    assert_eq!(stored.membership, Some(membership));
    assert_eq!(applied.stamped_ms, 77);
    assert_eq!(applied.log_id.unwrap().index, 1);
}

#[test]
fn a_command_that_breaks_a_limit_has_an_outcome() {
    let long = "s".repeat(SEGMENT_BYTES_MAX + 1);
    let deep = "d/".repeat(SEGMENTS_MAX + 1);
    let bare = Write { key: None, value: None };
    let rows = (0..=WRITES_MAX).map(|number| put(&number.to_string(), "")).collect();
    let empty = Key { segments: vec![Bytes::new()], flat: false };
    let mut filled = vec![put("e", vec![0; VALUE_BYTES_MAX])];
    filled.extend((0..5).map(|number| put(&number.to_string(), vec![0; 60_000])));
    let no_condition = Command { conditions: vec![Condition { kind: None }], ..Command::default() };
    let no_session = SessionChange { kind: None };
    let no_session = Command { session: Some(no_session), ..Command::default() };
    let no_ttl = Command { session: open_session(1, "o", 0), ..Command::default() };
    let ahead = Command { request_id: request(1, 2, 3, "f"), ..Command::default() };
    let bad = [
        writes(vec![bare]),
        writes(vec![put("", "v")]),
        writes(vec![Write { key: Some(empty), value: None }]),
        writes(vec![put(&long, "v")]),
        writes(vec![delete(&deep)]),
        writes(vec![put("k", vec![0; VALUE_BYTES_MAX + 1])]),
        writes(filled),
        writes(rows),
        writes(vec![put("k", "1"), delete("k")]),
        no_condition,
        no_session,
        no_ttl,
        ahead,
    ];
    let state = fresh();
    for (number, command) in bad.iter().enumerate() {
        assert!(validate(command).is_err(), "command {number}");
        assert_eq!(run(&state, command), Outcome::ConditionFailed, "command {number}");
    }
    assert_eq!(state.applied().state_hash, StateHash::default());

    let name = "s".repeat(SEGMENT_BYTES_MAX);
    let flat = Key { segments: path("k"), flat: true };
    let flat = Write { key: Some(flat), value: Some(Bytes::new()) };
    let edge = writes(vec![put(&name, vec![1; VALUE_BYTES_MAX]), put("k", ""), flat]);
    assert_eq!(validate(&edge), Ok(()));
    assert!(matches!(run(&state, &edge), Outcome::Applied { .. }));
    state.flush().unwrap();
    assert_eq!(state.view().get(&key(&name)).unwrap().unwrap().value.len(), VALUE_BYTES_MAX);
}

#[test]
fn checkpoints_are_remembered_for_a_while() {
    let state = fresh();
    let mut hash = None;
    for index in 1..=CHECKPOINT_ENTRIES * 66 {
        run(&state, &writes(vec![put("k", index.to_string())]));
        if index == CHECKPOINT_ENTRIES * 3 {
            hash = Some(state.applied().state_hash);
        }
    }
    assert_eq!(state.hash_at(CHECKPOINT_ENTRIES * 3), hash);
    assert_eq!(state.hash_at(CHECKPOINT_ENTRIES * 3 + 1), None);
    assert_eq!(state.hash_at(CHECKPOINT_ENTRIES * 2), None, "sixty-four are remembered");
    let newest = (CHECKPOINT_ENTRIES * 66, state.applied().state_hash);
    assert_eq!(state.checkpoint(), Some(newest));
}

#[test]
fn the_oldest_view_expires_when_the_undo_is_full() {
    let config = StateConfig { undo_bytes_max: 20_000, ..ROOMY };
    let state = State::open(Arc::new(MemoryEngine::new()), config).unwrap();
    run(&state, &writes(vec![put("k", vec![0; 5_000])]));
    let old = state.view();
    // One record that changes often costs an open view one image.
    for _ in 0..100 {
        run(&state, &writes(vec![put("k", vec![1; 5_000])]));
    }
    assert_eq!(old.get(&key("k")).unwrap().unwrap().value, vec![0; 5_000]);
    for number in 0..10 {
        let at = format!("other{number}");
        run(&state, &writes(vec![put(&at, vec![0; 5_000])]));
        run(&state, &writes(vec![put(&at, vec![1; 5_000])]));
        if number == 4 {
            assert!(old.get(&key("other0")).unwrap().is_none());
        }
    }
    let middle = state.view();
    for number in 0..10 {
        run(&state, &writes(vec![put(&format!("other{number}"), "2")]));
    }
    assert!(matches!(old.get(&key("k")), Err(StateError::ViewExpired)));
    assert!(matches!(middle.children(&[], None, 10), Err(StateError::ViewExpired)));
    let new = state.view();
    drop((old, middle));
    assert_eq!(new.get(&key("other9")).unwrap().unwrap().value, "2");
    assert!(state.shared.read().undo.bytes() <= 20_000);
}

#[test]
fn a_full_overlay_is_flushed_by_apply() {
    let config = StateConfig { overlay_bytes_max: 10_000, ..ROOMY };
    let state = State::open(Arc::new(MemoryEngine::new()), config).unwrap();
    for number in 0..100 {
        run(&state, &writes(vec![put(&format!("k{number}"), vec![0; 1_000])]));
        assert!(state.overlay_bytes() < 12_000);
    }
    assert!(state.engine_bytes() > 90_000);
    assert_eq!(children(&state.view(), "").len(), 100);
}

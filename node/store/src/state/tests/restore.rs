//! A backup restored through the log, against a model, with crashes, and beside replicas that did
//! not crash.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::v1::cluster_change::Kind;
use crate::v1::epoch_change::Cause;
use crate::v1::{
    ClusterChange, EpochChange, Recovered, RestoreAbort, RestoreBegin, RestoreChunk, RestoreCommit,
    SnapshotRecord,
};

fn cluster(kind: Kind) -> Command {
    Command { cluster: Some(ClusterChange { kind: Some(kind) }), ..Command::default() }
}

fn recovered(epoch: u64) -> Command {
    cluster(Kind::Recovered(Recovered { epoch, survivor: 3 }))
}

fn id(number: u8) -> Bytes {
    Bytes::copy_from_slice(&[number; 16])
}

fn begin(number: u8, header: &SnapshotHeader) -> Command {
    let begin = RestoreBegin { restore_id: id(number), header: Some(header.clone()) };
    cluster(Kind::RestoreBegin(begin))
}

fn chunk(number: u8, chunk: &SnapshotChunk) -> Command {
    let chunk = RestoreChunk { restore_id: id(number), chunk: Some(chunk.clone()) };
    cluster(Kind::RestoreChunk(chunk))
}

fn commit(number: u8) -> Command {
    cluster(Kind::RestoreCommit(RestoreCommit { restore_id: id(number) }))
}

fn abort(number: u8) -> Command {
    cluster(Kind::RestoreAbort(RestoreAbort { restore_id: id(number) }))
}

fn at_time(command: Command, stamped_ms: u64) -> Command {
    Command { stamped_ms, ..command }
}

/// A backup in chunks of a few records each.
fn cut(header: &SnapshotHeader, chunks: &[SnapshotChunk], records: usize) -> Vec<SnapshotChunk> {
    let all: Vec<SnapshotRecord> =
        chunks.iter().flat_map(|chunk| chunk.records.iter().cloned()).collect();
    assert_eq!(all.len() as u64, header.record_count);
    let mut digest = CHUNK_DIGEST_FIRST;
    let chunk = |(number, records): (usize, &[SnapshotRecord])| {
        digest = derive_chunk_digest(&digest, records);
        let digest = Bytes::copy_from_slice(&digest);
        SnapshotChunk { number: number as u64, records: records.to_vec(), digest }
    };
    all.chunks(records).enumerate().map(chunk).collect()
}

/// A state to be backed up: rows, long ones too, a session with requests, an epoch.
fn original(seed: u64, rows: u64) -> State {
    let state = fresh();
    let mut rng = numbers(seed);
    run(&state, &Command { session: open_session(1, "o", 1_000), ..Command::default() });
    for number in 0..rows {
        let value = vec![rng() as u8; [10, 500, 4_081, 9_000][(rng() % 4) as usize]];
        let mut command = writes(vec![put(&format!("d{}/{number}", rng() % 4), value)]);
        command.request_id = request(1, number, 0, "f");
        run(&state, &command);
    }
    run(&state, &recovered(2));
    state
}

/// What a state holds, but for revisions, sessions and epochs.
fn tree(state: &State) -> BTreeMap<Bytes, Bytes> {
    let (_, chunks) = chunks(state);
    let records = chunks.into_iter().flat_map(|chunk| chunk.records);
    let tree = records.filter(|record| layout_is_of_tree(&record.key));
    tree.map(|record| (record.key, record.value)).collect()
}

fn layout_is_of_tree(key: &[u8]) -> bool {
    key[0] == 1 || key[0] == 2
}

#[test]
fn a_recovery_raises_the_epoch_and_is_kept() {
    let engine = Arc::new(MemoryEngine::new());
    let state = open(&engine).unwrap();
    assert_eq!((state.applied().epoch, state.epochs().unwrap()), (1, Vec::new()));
    assert_eq!(run(&state, &at_time(recovered(2), 70)), Outcome::Applied { revision: 1 });
    for stale in [2, 1] {
        assert_eq!(run(&state, &recovered(stale)), Outcome::ConditionFailed);
    }
    let change = EpochChange {
        epoch: 2,
        cause: Cause::Recovered as i32,
        log_id: Some(LogId { term: 1, leader_id: 1, index: 1 }),
        stamped_ms: 70,
        survivor: 3,
    };
    assert_eq!(state.epochs().unwrap(), [change]);
    run(&state, &recovered(9));
    state.flush().unwrap();
    for state in [&state, &open(&engine).unwrap()] {
        assert_eq!((state.applied().epoch, state.epochs().unwrap().len()), (9, 2));
    }
    // Snapshots carry it.
    let (header, chunks) = chunks(&state);
    assert_eq!(header.epoch, 9);
    let copy = fresh();
    let lying = SnapshotHeader { epoch: 3, ..header.clone() };
    let mut import = copy.import(lying).unwrap();
    chunks.iter().for_each(|chunk| import.push(chunk.clone()).unwrap());
    assert!(matches!(import.finish(), Err(StateError::Snapshot(_))));
    assert_eq!(copy.applied().epoch, 1);
    restore(&copy, header, chunks);
    assert_eq!((copy.applied().epoch, copy.epochs().unwrap()), (9, state.epochs().unwrap()));
}

#[test]
fn the_newest_epochs_are_kept() {
    let state = fresh();
    for epoch in 2..=100 {
        run(&state, &recovered(epoch));
    }
    let epochs: Vec<_> = state.epochs().unwrap().iter().map(|change| change.epoch).collect();
    assert_eq!(epochs, (100 - EPOCH_CHANGES_MAX as u64 + 1..=100).collect::<Vec<_>>());
}

#[test]
fn a_backup_replaces_everything_in_one_step() {
    let from = original(1, 60);
    let (header, chunks) = chunks(&from);
    let parts = cut(&header, &chunks, 7);
    let state = fresh();
    run(&state, &writes(vec![put("mine", "x")]));
    run(&state, &Command { session: open_session(2, "me", 1_000), ..Command::default() });
    run(&state, &recovered(5));
    let begun = next_index(&state);
    assert_eq!(run(&state, &begin(7, &header)), Outcome::Applied { revision: begun });
    assert!(state.is_restoring());
    assert!(matches!(state.export(), Err(StateError::Restoring)));
    for part in &parts {
        let revision = next_index(&state);
        assert_eq!(run(&state, &chunk(7, part)), Outcome::Applied { revision });
        // A repeated one changes nothing, and what is in force is served and changed meanwhile.
        run(&state, &chunk(7, part));
        run(&state, &writes(vec![put("mine", "y")]));
    }
    let view = state.view();
    assert_eq!(view.get(&key("mine")).unwrap().unwrap().value, "y");
    let revision = next_index(&state);
    assert_eq!(run(&state, &commit(7)), Outcome::Applied { revision });
    assert!(matches!(view.get(&key("mine")), Err(StateError::ViewExpired)));
    assert!(!state.is_restoring());
    assert_eq!(tree(&state), tree(&from));
    assert_eq!(state.view().get(&key("mine")).unwrap(), None);
    let epochs: Vec<_> =
        state.epochs().unwrap().iter().map(|change| (change.epoch, change.cause)).collect();
    assert_eq!(epochs, [(5, Cause::Recovered as i32), (6, Cause::Restored as i32)]);
    assert_eq!(state.applied().epoch, 6);
    let (_, after) = self::chunks(&state);
    for record in after.iter().flat_map(|chunk| &chunk.records) {
        let expected = if record.key[0] == 7 { revision } else { begun };
        assert_eq!(record.revision, expected, "{:?}", record.key);
    }
    for session in [1, 2] {
        let command = Command { request_id: request(session, 99, 0, "f"), ..Command::default() };
        assert_eq!(run(&state, &command), Outcome::SessionUnknown);
    }
    assert_eq!(run(&state, &commit(7)), Outcome::RestoreFailed);
}

#[test]
fn what_does_not_fit_gives_the_restore_up() {
    let from = original(2, 30);
    let (header, chunks) = chunks(&from);
    let parts = cut(&header, &chunks, 5);
    let wrong_hash =
        SnapshotHeader { state_hash: Bytes::copy_from_slice(&[1; 64]), ..header.clone() };
    let wrong_count = SnapshotHeader { record_count: header.record_count + 1, ..header.clone() };
    let mut too_new = parts.clone();
    too_new[0].records[0].revision = 1_000;
    too_new[0].digest =
        Bytes::copy_from_slice(&derive_chunk_digest(&CHUNK_DIGEST_FIRST, &too_new[0].records));
    let mut edited = parts.clone();
    edited[1].records[0].value = Bytes::from_static(b"?");
    let without_last = parts[..parts.len() - 1].to_vec();
    let without_first = parts[1..].to_vec();
    let cases = [
        (&header, &without_last),
        (&header, &without_first),
        (&header, &edited),
        (&header, &too_new),
        (&wrong_hash, &parts),
        (&wrong_count, &parts),
    ];
    for (case, (header, parts)) in cases.into_iter().enumerate() {
        let engine = Arc::new(MemoryEngine::new());
        let state = open(&engine).unwrap();
        run(&state, &writes(vec![put("mine", "x")]));
        let hash = state.applied().state_hash;
        run(&state, &begin(1, header));
        parts.iter().for_each(|part| drop(run(&state, &chunk(1, part))));
        assert_eq!(run(&state, &commit(1)), Outcome::RestoreFailed, "case {case}");
        assert!(!state.is_restoring());
        assert_eq!((state.applied().state_hash, state.applied().epoch), (hash, 1));
        // Nothing is left of it.
        while state.flush().unwrap() {}
        assert!(engine.range(&[2], &[255], 1).unwrap().is_empty());
        assert_eq!(open(&engine).unwrap().applied().state_hash, hash);
    }
}

#[test]
fn another_begin_an_abort_or_a_minute_ends_it() {
    let from = original(3, 20);
    let (header, chunks) = chunks(&from);
    let parts = cut(&header, &chunks, 5);
    let state = fresh();
    for number in [1, 2] {
        run(&state, &begin(number, &header));
        run(&state, &chunk(number, &parts[0]));
    }
    // The first has ended; its steps do not disturb the second.
    for command in [chunk(1, &parts[1]), commit(1), abort(1)] {
        assert_eq!(run(&state, &command), Outcome::RestoreFailed);
        assert!(state.is_restoring());
    }
    assert!(matches!(run(&state, &abort(2)), Outcome::Applied { .. }));
    assert!(!state.is_restoring());
    run(&state, &at_time(begin(3, &header), 5_000));
    run(&state, &at_time(chunk(3, &parts[0]), 5_000 + RESTORE_IDLE_MS_MAX));
    assert!(state.is_restoring());
    run(&state, &at_time(writes(vec![put("k", "v")]), 5_001 + 2 * RESTORE_IDLE_MS_MAX));
    assert!(!state.is_restoring());
    assert_eq!(run(&state, &commit(3)), Outcome::RestoreFailed);
    // An imported snapshot ends it too.
    run(&state, &begin(4, &header));
    restore(&state, header, chunks);
    assert!(!state.is_restoring());
    while state.flush().unwrap() {}
    assert_eq!(state.shared.read().staging.len(), 0);
}

#[test]
fn malformed_cluster_changes_do_nothing_and_unknown_ones_stop_the_node() {
    let from = original(4, 3);
    let (header, chunks) = chunks(&from);
    let state = fresh();
    let mut bad = vec![
        Command { cluster: Some(ClusterChange { kind: None }), ..Command::default() },
        Command { writes: vec![put("k", "v")], ..recovered(2) },
        Command { session: open_session(1, "o", 10), ..recovered(2) },
        Command { event: Bytes::from_static(b"e"), ..recovered(2) },
        recovered(1),
        cluster(Kind::RestoreBegin(RestoreBegin { restore_id: id(1), header: None })),
        begin(1, &SnapshotHeader { state_hash: Bytes::new(), ..header.clone() }),
        begin(1, &SnapshotHeader { format: 0, ..header.clone() }),
        cluster(Kind::RestoreChunk(RestoreChunk { restore_id: id(1), chunk: None })),
        chunk(1, &SnapshotChunk { records: Vec::new(), ..chunks[0].clone() }),
        cluster(Kind::RestoreCommit(RestoreCommit { restore_id: Bytes::new() })),
    ];
    let record = |bytes| SnapshotRecord {
        key: Bytes::from_static(b"\x02"),
        revision: 1,
        value: vec![0; bytes].into(),
    };
    let long = |records| SnapshotChunk { number: 0, records, digest: Bytes::new() };
    bad.push(chunk(1, &long(vec![record(300 << 10), record(300 << 10)])));
    bad.push(chunk(1, &long(vec![record(VALUE_BYTES_MAX + 1)])));
    for command in &bad {
        assert!(validate(command).is_err(), "{command:?}");
        assert_eq!(run(&state, command), Outcome::ConditionFailed, "{command:?}");
    }
    assert!(validate(&chunk(1, &long(vec![record(VALUE_BYTES_MAX)]))).is_ok());
    assert_eq!(state.applied().state_hash, StateHash::default());

    let later = begin(1, &SnapshotHeader { format: 2, ..header });
    // A cluster change of an unknown kind: tag 9, empty.
    let unknown = [&[7 << 3 | 2, 2][..], &[9 << 3 | 2, 0]].concat();
    for bytes in [later.encode_to_vec(), unknown] {
        let mut entry = entry_at(next_index(&state), &Command::default());
        entry.payload = Some(entry::Payload::Command(Bytes::from(bytes)));
        assert!(matches!(state.apply(&entry), Err(StateError::Unknown { .. })));
    }
}

/// What was staged before the first metadata was written is no damage: found by the test below
/// (seed 12291697194654139855).
#[test]
fn a_crash_before_the_first_batch_leaves_an_empty_state() {
    let (header, chunks) = chunks(&original(5, 10));
    let engine = Arc::new(MemoryEngine::new());
    let state = open(&engine).unwrap();
    run(&state, &begin(1, &header));
    run(&state, &chunk(1, &chunks[0]));
    assert!(!engine.range(&[0], &[255], 1).unwrap().is_empty());
    let state = open(&engine).unwrap();
    assert!(state.applied_id().is_none());
    while state.flush().unwrap() {}
    assert!(engine.range(&[0], &[255], 1).unwrap().is_empty());
}

/// A log with restores among ordinary commands, and what must come of it.
fn log(seed: u64) -> Vec<Entry> {
    let mut rng = numbers(seed);
    let backups: Vec<_> = (0..2)
        .map(|number| {
            let (header, chunks) = chunks(&original(seed + number, 5 + rng() % 25));
            let parts = cut(&header, &chunks, 1 + (rng() % 6) as usize);
            (header, parts)
        })
        .collect();
    let mut commands = Vec::new();
    let mut now_ms = 1_000;
    for restore in 0..4_u8 {
        let (header, parts) = &backups[(rng() % 2) as usize];
        let mut steps = vec![begin(restore, header)];
        steps.extend(parts.iter().map(|part| chunk(restore, part)));
        match rng() % 6 {
            0 => steps.truncate((rng() % steps.len() as u64) as usize),
            1 => steps.push(abort(restore)),
            _ => steps.push(commit(restore)),
        }
        for step in steps {
            now_ms += if rng().is_multiple_of(40) { RESTORE_IDLE_MS_MAX } else { rng() % 500 };
            commands.push(at_time(step, now_ms));
            for _ in 0..rng() % 3 {
                let name = format!("d{}/{}", rng() % 4, rng() % 8);
                let value = vec![rng() as u8; (rng() % 6_000) as usize];
                let mut command = writes(vec![put(&name, value)]);
                if rng().is_multiple_of(5) {
                    command.session = open_session((rng() % 4) as u8, "owner", 900);
                }
                commands.push(at_time(command, now_ms));
            }
        }
    }
    (1..).zip(&commands).map(|(index, command)| entry_at(index, command)).collect()
}

/// What the log adds up to, worked out without staging: outcomes by entry, and the tree at the end.
fn model(entries: &[Entry]) -> (Vec<Outcome>, BTreeMap<Vec<Bytes>, Bytes>, u64) {
    let mut rows: BTreeMap<Vec<Bytes>, Bytes> = BTreeMap::new();
    let mut epoch = 1;
    // Id, records so far, records promised, time of the last step.
    let mut under_way: Option<(Bytes, Vec<SnapshotRecord>, u64, u64)> = None;
    let mut outcomes = Vec::new();
    for entry in entries {
        let Some(entry::Payload::Command(bytes)) = &entry.payload else { continue };
        let command = Command::decode(bytes.clone()).unwrap();
        let now_ms = command.stamped_ms;
        let applied = Outcome::Applied { revision: entry.id.unwrap().index };
        under_way = under_way.filter(|(_, _, _, at)| now_ms <= at + RESTORE_IDLE_MS_MAX);
        outcomes.push(match command.cluster.and_then(|change| change.kind) {
            Some(Kind::RestoreBegin(begin)) => {
                let count = begin.header.unwrap().record_count;
                under_way = Some((begin.restore_id, Vec::new(), count, now_ms));
                applied
            }
            Some(Kind::RestoreChunk(chunk)) => match &mut under_way {
                Some((id, records, _, at)) if *id == chunk.restore_id => {
                    records.extend(chunk.chunk.unwrap().records);
                    *at = now_ms;
                    applied
                }
                _ => Outcome::RestoreFailed,
            },
            Some(Kind::RestoreCommit(commit)) => match under_way.take() {
                Some((id, records, count, _)) if id == commit.restore_id => {
                    if records.len() as u64 == count {
                        epoch += 1;
                        rows = rows_of(&records);
                        applied
                    } else {
                        Outcome::RestoreFailed
                    }
                }
                other => {
                    under_way = other;
                    Outcome::RestoreFailed
                }
            },
            Some(Kind::RestoreAbort(abort)) => match under_way.take() {
                Some((id, ..)) if id == abort.restore_id => applied,
                other => {
                    under_way = other;
                    Outcome::RestoreFailed
                }
            },
            Some(Kind::Recovered(_)) => unreachable!("the log has none"),
            None => {
                for write in command.writes {
                    rows.insert(write.key.unwrap().segments, write.value.unwrap());
                }
                applied
            }
        });
    }
    (outcomes, rows, epoch)
}

/// The rows of a backup made by [`original`]: `d0` to `d3`.
fn rows_of(records: &[SnapshotRecord]) -> BTreeMap<Vec<Bytes>, Bytes> {
    let mut rows = BTreeMap::new();
    for directory in ["d0", "d1", "d2", "d3"] {
        for name in (0..40).map(|number| number.to_string()) {
            let key = key(&format!("{directory}/{name}"));
            let at = crate::state::key::row(&key).unwrap();
            if let Some(record) = records.iter().find(|record| record.key == at) {
                rows.insert(key.segments, record.value.clone());
            }
        }
    }
    rows
}

fn play(state: &State, entries: &[Entry]) -> Vec<(u64, Outcome)> {
    let from = state.applied_id().map_or(0, |id| id.index as usize);
    let apply = |entry: &Entry| (entry.id.unwrap().index, state.apply(entry).unwrap());
    entries[from..].iter().map(apply).collect()
}

fn check_rows(state: &State, rows: &BTreeMap<Vec<Bytes>, Bytes>) {
    let view = state.view();
    let mut found = BTreeMap::new();
    for directory in view.children(&[], None, 100).unwrap() {
        let at = vec![directory.name];
        for child in view.children(&at, None, 1_000).unwrap() {
            let segments = [at.clone(), vec![child.name]].concat();
            let row = view.get(&Key { segments: segments.clone(), flat: false }).unwrap();
            found.insert(segments, row.unwrap().value);
        }
    }
    assert_eq!(found, *rows);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_restore_survives_any_crash_and_every_replica_comes_to_the_same(seed: u64) {
        let entries = log(seed % 1_000_000);
        let (outcomes, rows, epoch) = model(&entries);
        let steady = fresh();
        let played = play(&steady, &entries);
        for ((index, real), expected) in played.iter().zip(&outcomes) {
            prop_assert_eq!(real, expected, "entry {}", index);
        }
        check_rows(&steady, &rows);
        prop_assert_eq!(steady.applied().epoch, epoch);
        let expected = steady.applied();

        let mut rng = numbers(seed);
        let engine = Arc::new(MemoryEngine::new());
        let mut state = open(&engine).unwrap();
        for crash in 0..4 {
            let from = state.applied_id().map_or(0, |id| id.index as usize);
            let until = from + (rng() % (entries.len() - from + 1) as u64) as usize;
            for entry in &entries[from..until] {
                state.apply(entry).unwrap();
                match rng() % 8 {
                    0..=3 => drop(state.flush().unwrap()),
                    4 => engine.flush().unwrap(),
                    _ => {}
                }
            }
            let loss = [Loss::All, Loss::Suffix, Loss::Torn][(rng() % 3) as usize];
            engine.crash(loss, &mut rng);
            state = match open(&engine) {
                Ok(state) => state,
                Err(StateError::Damaged(_)) if loss == Loss::Torn => {
                    engine.clear().unwrap();
                    open(&engine).unwrap()
                }
                Err(error) => panic!("crash {crash}, {loss:?}: {error}"),
            };
        }
        for (index, outcome) in play(&state, &entries) {
            prop_assert_eq!(&outcome, &outcomes[index as usize - 1]);
        }
        prop_assert_eq!(state.applied().state_hash, expected.state_hash);
        prop_assert_eq!(state.applied().epoch, expected.epoch);
        state.flush().unwrap();
        // Found whole once more, and nothing but the state in force and what is staged remains.
        let again = open(&engine).unwrap();
        prop_assert_eq!(again.applied().state_hash, expected.state_hash);
        while again.flush().unwrap() {}
        let kept = again.shared.read().staging.len() + 1;
        let held = (1..=250_u8).filter(|at| !engine.range(&[*at], &[at + 1], 1).unwrap().is_empty());
        prop_assert!(held.count() <= kept);
    }
}

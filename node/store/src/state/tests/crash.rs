//! What a crash, a power cut or a flipped bit leaves is either an entry boundary or refused.

use super::*;

/// Entries that write, overwrite and delete, long values among them.
fn entries(seed: u64, count: u64) -> Vec<Entry> {
    let mut rng = numbers(seed);
    let mut entries = Vec::new();
    for index in 1..=count {
        let mut command = writes(Vec::new());
        for slot in 0..rng() % 4 {
            let name = format!("d{}/k{}", rng() % 3, slot * 10 + rng() % 10);
            command.writes.push(match rng() % 3 {
                0 => delete(&name),
                _ => put(&name, vec![rng() as u8; (rng() % 9_000) as usize]),
            });
        }
        command.stamped_ms = index;
        if index % 7 == 0 {
            command.session = open_session((rng() % 5) as u8, "owner", 20);
        }
        entries.push(entry_at(index, &command));
    }
    entries
}

fn replay(state: &State, entries: &[Entry]) -> StateHash {
    for entry in &entries[state.applied_id().map_or(0, |id| id.index as usize)..] {
        state.apply(entry).unwrap();
    }
    state.applied().state_hash
}

#[test]
fn after_a_crash_the_log_leads_to_the_same_state() {
    let mut torn = 0;
    for seed in 0..150 {
        let mut rng = numbers(seed);
        let entries = entries(seed, 60);
        let expected = replay(&fresh(), &entries);

        let engine = Arc::new(MemoryEngine::new());
        let state = open(&engine).unwrap();
        for entry in &entries[..(rng() % 60) as usize] {
            state.apply(entry).unwrap();
            match rng() % 8 {
                0 | 1 => drop(state.flush().unwrap()),
                2 => engine.flush().unwrap(),
                _ => {}
            }
        }
        let loss = [Loss::All, Loss::Suffix, Loss::Torn][(seed % 3) as usize];
        engine.crash(loss, &mut rng);
        let state = match open(&engine) {
            Ok(state) => state,
            Err(StateError::Damaged(_)) if loss == Loss::Torn => {
                torn += 1;
                engine.clear().unwrap();
                open(&engine).unwrap()
            }
            Err(error) => panic!("seed {seed}: {error}"),
        };
        assert_eq!(replay(&state, &entries), expected, "seed {seed}, {loss:?}");
        state.flush().unwrap();
        assert_eq!(open(&engine).unwrap().applied().state_hash, expected);
    }
    assert!(torn > 5, "the tears were met: {torn}");
}

#[test]
fn every_flipped_bit_is_found() {
    for seed in 0..200 {
        let engine = Arc::new(MemoryEngine::new());
        let state = open(&engine).unwrap();
        replay(&state, &entries(seed, 30));
        state.flush().unwrap();
        assert!(open(&engine).is_ok());
        assert!(engine.damage(&mut numbers(seed)));
        assert!(matches!(open(&engine), Err(StateError::Damaged(_))), "seed {seed}");
    }
}

#[test]
fn a_damaged_row_is_an_error_and_no_value() {
    let engine = Arc::new(MemoryEngine::new());
    let state = open(&engine).unwrap();
    run(&state, &writes(vec![put("k", vec![7; 9_000])]));
    state.flush().unwrap();
    for seed in 0..40 {
        assert!(engine.damage(&mut numbers(seed)));
    }
    assert!(matches!(state.view().get(&key("k")), Err(StateError::Damaged(_))));
}

#[test]
fn only_a_close_in_this_boot_spares_the_scan() {
    let boot = [7; 16];
    let engine = Arc::new(MemoryEngine::new());
    let open = |boot| {
        let engine = Arc::clone(&engine) as Arc<dyn StateEngine>;
        State::open_in_boot(engine, ROOMY, boot)
    };
    // The value damage that only a scan can see: any value but the metadata's.
    let damage = || {
        let mut pairs = engine.range(&[1], &[255], 1_000).unwrap();
        let (at, mut value) = pairs.pop().unwrap();
        *value.last_mut().unwrap() ^= 1;
        engine.write(vec![(at, Some(value))]).unwrap();
    };
    let state = open(boot).unwrap();
    replay(&state, &entries(1, 40));
    let applied = state.applied();
    state.close().unwrap();

    damage();
    let state = open(boot).expect("closed in this boot: not scanned");
    assert_eq!(state.applied().log_id, applied.log_id);
    assert_eq!(state.applied().state_hash, applied.state_hash);
    // The mark is used up: this time it was not closed.
    assert!(matches!(open(boot), Err(StateError::Damaged(_))));
    damage();
    open(boot).unwrap().close().unwrap();
    damage();
    assert!(matches!(open([8; 16]), Err(StateError::Damaged(_))), "another boot");
}

#[test]
fn records_without_metadata_are_refused() {
    let engine = Arc::new(MemoryEngine::new());
    engine.write(vec![(vec![1, 1, 2], Some(vec![0; 20]))]).unwrap();
    assert!(matches!(open(&engine), Err(StateError::Damaged(_))));
}

#[test]
fn sled_keeps_it_in_files() {
    let directory = tempfile::tempdir().unwrap();
    let entries = entries(5, 200);
    let expected = replay(&fresh(), &entries);
    {
        let state =
            State::open(Arc::new(SledEngine::open(directory.path()).unwrap()), ROOMY).unwrap();
        for entry in &entries {
            state.apply(entry).unwrap();
            if entry.id.unwrap().index % 10 == 0 {
                state.flush().unwrap();
            }
        }
        state.close().unwrap();
        assert!(state.engine_bytes() > 0);
    }
    let engine = Arc::new(SledEngine::open(directory.path()).unwrap());
    // Another boot: scanned.
    let open = || State::open_in_boot(Arc::clone(&engine) as Arc<dyn StateEngine>, ROOMY, [9; 16]);
    let state = open().unwrap();
    assert_eq!(state.applied().state_hash, expected);
    let (header, chunks) = chunks(&state);
    restore(&state, header, chunks);
    while state.flush().unwrap() {}
    assert_eq!(open().unwrap().applied().state_hash, expected);
    engine.clear().unwrap();
    assert_eq!(open().unwrap().applied().log_id, None);
}

//! Exports and imports: verified whole, or nothing changes.

use super::*;

fn filled(count: u64) -> State {
    let state = fresh();
    for number in 0..count {
        let value = vec![number as u8; (number % 50 * 400) as usize];
        let mut command = writes(vec![put(&format!("d{}/{number}", number % 7), value)]);
        if number == 0 {
            command.session = open_session(1, "owner", 1_000);
        } else if number < 20 {
            command.request_id = request(1, number, 0, "f");
        }
        run(&state, &command);
    }
    state
}

#[test]
fn a_copy_behaves_as_the_original() {
    let state = filled(300);
    let (header, chunks) = chunks(&state);
    assert!(chunks.len() > 3, "several chunks");
    let records: u64 = chunks.iter().map(|chunk| chunk.records.len() as u64).sum();
    assert_eq!(records, header.record_count);

    let copy = fresh();
    run(&copy, &writes(vec![put("old", "x")]));
    let old_view = copy.view();
    restore(&copy, header, chunks);
    assert!(matches!(old_view.get(&key("old")), Err(StateError::ViewExpired)));
    assert_eq!(copy.view().get(&key("old")).unwrap(), None);
    assert_eq!(children(&copy.view(), "d3"), children(&state.view(), "d3"));
    let again = Command { request_id: request(1, 5, 0, "f"), ..Command::default() };
    let outcome = run(&state, &again);
    assert!(matches!(outcome, Outcome::Replayed { revision: 6, .. }));
    assert_eq!(run(&copy, &again), outcome);
    assert_eq!(copy.applied().state_hash, state.applied().state_hash);
    drop(old_view);
}

#[test]
fn an_export_is_not_disturbed_by_what_is_applied_meanwhile() {
    let state = filled(200);
    let (_, before) = chunks(&state);
    let mut export = state.export().unwrap();
    let mut during = Vec::new();
    let mut number = 0;
    while let Some(chunk) = export.next_chunk().unwrap() {
        during.push(chunk);
        for _ in 0..40 {
            let at = format!("d{}/{number}", number % 7);
            let change = if number % 3 == 0 { delete(&at) } else { put(&at, "new") };
            run(&state, &writes(vec![change, put(&format!("a/{number}"), "added")]));
            number += 1;
        }
        state.flush().unwrap();
    }
    assert_eq!(during, before);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (header, chunks) = chunks(&filled(300));
    let engine = Arc::new(MemoryEngine::new());
    let state = open(&engine).unwrap();
    run(&state, &writes(vec![put("k", "mine")]));
    state.flush().unwrap();
    let before = state.applied();
    let refused = |header: &SnapshotHeader, chunks: &[SnapshotChunk]| {
        let mut import = state.import(header.clone()).unwrap();
        let pushed = chunks.iter().try_for_each(|chunk| import.push(chunk.clone()));
        let result = pushed.and_then(|()| import.finish());
        assert!(matches!(result, Err(StateError::Snapshot(_))), "{result:?}");
        assert_eq!(state.view().get(&key("k")).unwrap().unwrap().value, "mine");
        assert_eq!(state.applied().state_hash, before.state_hash);
    };

    refused(&header, &chunks[..chunks.len() - 1]);
    refused(&header, &chunks[1..]);
    refused(&SnapshotHeader { record_count: header.record_count + 1, ..header.clone() }, &chunks);
    refused(
        &SnapshotHeader { state_hash: Bytes::from_static(&[1; 64]), ..header.clone() },
        &chunks,
    );
    let mut swapped = chunks.clone();
    swapped.swap(0, 1);
    refused(&header, &swapped);
    let mut edited = chunks.clone();
    edited[1].records[0].revision += 1;
    refused(&header, &edited);
    // The same with digests that fit: the state hash finds it.
    let mut digest = CHUNK_DIGEST_FIRST;
    for chunk in &mut edited {
        digest = derive_chunk_digest(&digest, &chunk.records);
        chunk.digest = Bytes::copy_from_slice(&digest);
    }
    refused(&header, &edited);
    let mut doubled = chunks.clone();
    let record = doubled[0].records[0].clone();
    doubled[0].records.insert(0, record);
    doubled[0].digest =
        Bytes::copy_from_slice(&derive_chunk_digest(&CHUNK_DIGEST_FIRST, &doubled[0].records));
    refused(&header, &doubled);
    assert!(state.import(SnapshotHeader { format: 2, ..header }).is_err());

    // Nothing is left of the attempts, on disk either.
    while state.flush().unwrap() {}
    assert!(engine.range(&[2], &[255], 1).unwrap().is_empty());
    assert_eq!(open(&engine).unwrap().applied().state_hash, before.state_hash);
}

#[test]
fn a_crash_leaves_the_old_state_or_the_new_one() {
    let (header, chunks) = chunks(&filled(120));
    for finished in [false, true] {
        let engine = Arc::new(MemoryEngine::new());
        let state = open(&engine).unwrap();
        run(&state, &writes(vec![put("k", "mine")]));
        state.flush().unwrap();
        let old = state.applied().state_hash;
        engine.flush().unwrap();
        let mut import = state.import(header.clone()).unwrap();
        chunks.iter().for_each(|chunk| import.push(chunk.clone()).unwrap());
        if finished {
            import.finish().unwrap();
            engine.crash(Loss::Torn, &mut numbers(3));
        } else {
            // The process dies: no destructor runs.
            std::mem::forget(import);
            engine.crash(Loss::Suffix, &mut numbers(4));
        }
        let state = open(&engine).unwrap();
        let expected = if finished { &header.state_hash[..] } else { &old.0[..] };
        assert_eq!(&state.applied().state_hash.0[..], expected);
        // What is not in force is deleted by and by.
        while state.flush().unwrap() {}
        let generation = state.shared.read().generation.0;
        assert!(engine.range(&[1], &[generation], 1).unwrap().is_empty());
        assert!(engine.range(&[generation + 1], &[255], 1).unwrap().is_empty());
    }
}

#[test]
fn states_are_replaced_again_and_again() {
    let engine = Arc::new(MemoryEngine::new());
    let state = open(&engine).unwrap();
    for round in 0..5 {
        let source = filled(20 + round);
        let (header, chunks) = chunks(&source);
        restore(&state, header, chunks);
        run(&state, &writes(vec![put("after", "x")]));
        run(&source, &writes(vec![put("after", "x")]));
        assert_eq!(state.applied().state_hash, source.applied().state_hash);
        state.flush().unwrap();
    }
    assert_eq!(open(&engine).unwrap().applied().state_hash, state.applied().state_hash);
}

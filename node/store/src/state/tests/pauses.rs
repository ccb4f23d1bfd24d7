//! Copies beside constant writes: they end, memory stays bounded, and applies do not wait long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;

fn fill(state: &State, rows: u64, bytes: usize) {
    for number in 0..rows {
        let value = vec![number as u8; bytes];
        run(state, &writes(vec![put(&format!("d{}/{number}", number % 64), value)]));
        if number.is_multiple_of(64) {
            state.flush().unwrap();
        }
    }
    while state.flush().unwrap() {}
}

/// Overwrites every record again and again while a copy is read with pauses; the undo holds a
/// small part of what changes.
fn copy_under_writes(engine: Arc<dyn StateEngine>, rows: u64) {
    let tight = StateConfig { undo_bytes_max: 256 << 10, ..ROOMY };
    let state = State::open(engine, tight).unwrap();
    fill(&state, rows, 3_000);
    let (expected_header, expected) = chunks(&state);
    let mut export = state.export().unwrap();
    let mut copied = Vec::new();
    let mut rng = numbers(7);
    while let Some(chunk) = export.next_chunk().unwrap() {
        copied.push(chunk);
        for _ in 0..rows / 2 {
            let number = rng() % (rows + rows / 4);
            let at = format!("d{}/{number}", number % 64);
            let long = vec![1; [10, 3_000, 9_000][(rng() % 3) as usize]];
            let write = if rng().is_multiple_of(4) { delete(&at) } else { put(&at, long) };
            run(&state, &writes(vec![write]));
            assert!(state.shared.read().undo.bytes() <= 256 << 10);
        }
        // Reads beside it see the newest state.
        assert_eq!(state.view().revision(), state.applied_id().unwrap().index);
    }
    assert_eq!(*export.header(), expected_header);
    assert!(copied == expected, "the copy is that of its own revision");
    drop(export);
    while state.flush().unwrap() {}
    let left = state.shared.engine.range(&[251], &[255], 1).unwrap();
    assert!(left.is_empty(), "nothing is left of the before-images");
}

#[test]
fn a_copy_ends_however_much_is_written_meanwhile() {
    copy_under_writes(Arc::new(MemoryEngine::new()), 1_500);
}

#[test]
fn a_copy_ends_on_sled_too() {
    let directory = tempfile::tempdir().unwrap();
    copy_under_writes(Arc::new(SledEngine::open(directory.path()).unwrap()), 400);
}

#[test]
fn what_a_crash_leaves_of_a_copy_is_swept() {
    let engine = Arc::new(MemoryEngine::new());
    let tight = StateConfig { undo_bytes_max: 20_000, ..ROOMY };
    let state = State::open(Arc::clone(&engine) as Arc<dyn StateEngine>, tight).unwrap();
    fill(&state, 20, 3_000);
    let export = state.export().unwrap();
    fill(&state, 20, 3_001);
    assert!(!engine.range(&[251], &[255], 1).unwrap().is_empty());
    std::mem::forget(export);
    let state = open(&engine).unwrap();
    while state.flush().unwrap() {}
    assert!(engine.range(&[251], &[255], 1).unwrap().is_empty());
}

#[expect(clippy::disallowed_methods, reason = "a pause is measured")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// About 64 MiB on sled: the longest apply while a copy is made under constant writes, with the
/// undo of a real node and with a small one. Run alone, with `--ignored --nocapture`.
#[test]
#[ignore = "measures: half a minute, alone on the machine"]
fn applies_do_not_wait_for_a_copy() {
    for undo_bytes_max in [64 << 20, 2 << 20] {
        let directory = tempfile::tempdir().unwrap();
        let engine = Arc::new(SledEngine::open(directory.path()).unwrap());
        let state = State::open(engine, StateConfig { undo_bytes_max, ..ROOMY }).unwrap();
        fill(&state, 64 << 10, 1_000);
        let (done, longest) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(15));
                    while state.flush().unwrap() {}
                }
            });
            scope.spawn(|| {
                let (mut rng, begun, mut applied) = (numbers(3), now(), 0_u64);
                while !done.load(Ordering::Acquire) {
                    let number = rng() % (64 << 10);
                    let at = format!("d{}/{number}", number % 64);
                    let command = writes(vec![put(&at, vec![rng() as u8; 1_000])]);
                    let before = now();
                    run(&state, &command);
                    longest.fetch_max(before.elapsed().as_micros() as u64, Ordering::AcqRel);
                    applied += 1;
                    if applied.is_multiple_of(20) {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
                println!("{:.0} applies/s", applied as f64 / begun.elapsed().as_secs_f64());
            });
            let begun = now();
            let mut export = state.export().unwrap();
            let mut records = 0;
            while let Some(chunk) = export.next_chunk().unwrap() {
                records += chunk.records.len() as u64;
            }
            assert_eq!(records, export.header().record_count);
            println!("undo {undo_bytes_max}: {records} records in {:?}", begun.elapsed());
            drop(export);
            std::thread::sleep(Duration::from_millis(300));
            done.store(true, Ordering::Release);
        });
        let longest = Duration::from_micros(longest.into_inner());
        println!("longest apply {longest:?}");
        assert!(longest < Duration::from_millis(100), "{longest:?}");
    }
}

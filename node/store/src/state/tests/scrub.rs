//! The scrub: it finds what is damaged, and nothing else, whatever is applied meanwhile.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Writes, overwrites and deletes among 4 × 60 names, long values among them.
fn change(rng: &mut impl FnMut() -> u64) -> Command {
    let mut command = writes(Vec::new());
    for slot in 0..1 + rng() % 4 {
        let name = format!("d{}/k{}", rng() % 4, slot * 15 + rng() % 15);
        let length = [20, 300, 4_081, 9_000][(rng() % 4) as usize];
        command.writes.push(match rng() % 4 {
            0 => delete(&name),
            _ => put(&name, vec![rng() as u8; length]),
        });
    }
    command
}

fn round(state: &State, page: usize) -> Result<(), StateError> {
    let mut scrub = Scrub::default();
    while !state.scrub(&mut scrub, page)? {}
    Ok(())
}

#[test]
fn entries_applied_meanwhile_do_not_disturb_it() {
    for seed in 0..40 {
        let mut rng = numbers(seed);
        let engine = Arc::new(MemoryEngine::new());
        let state = open(&engine).unwrap();
        (0..100).for_each(|_| drop(run(&state, &change(&mut rng))));
        let (mut scrub, mut rounds) = (Scrub::default(), 0);
        while rounds < 3 {
            for _ in 0..rng() % 3 {
                run(&state, &change(&mut rng));
            }
            if rng().is_multiple_of(4) {
                state.flush().unwrap();
            }
            rounds += u32::from(state.scrub(&mut scrub, 1 + (rng() % 40) as usize).unwrap());
        }
    }
}

#[test]
fn a_replaced_state_is_scrubbed_from_its_beginning() {
    let mut rng = numbers(5);
    let state = fresh();
    (0..50).for_each(|_| drop(run(&state, &change(&mut rng))));
    let mut scrub = Scrub::default();
    assert!(!state.scrub(&mut scrub, 5).unwrap());
    let (header, chunks) = chunks(&state);
    restore(&state, header, chunks);
    while !state.scrub(&mut scrub, 5).unwrap() {}
}

#[test]
fn every_flipped_bit_and_every_lost_record_is_found() {
    for seed in 0..60_u64 {
        let mut rng = numbers(seed);
        let engine = Arc::new(MemoryEngine::new());
        let state = open(&engine).unwrap();
        (0..40).for_each(|_| drop(run(&state, &change(&mut rng))));
        state.flush().unwrap();
        round(&state, 10).unwrap();
        // Any pair but the metadata, which is written anew all the time.
        let pairs = engine.range(&[1], &[255], 10_000).unwrap();
        let (at, mut value) = pairs[(rng() % pairs.len() as u64) as usize].clone();
        let bit = rng() as usize % (value.len() * 8);
        value[bit / 8] ^= 1 << (bit % 8);
        let damage = if seed.is_multiple_of(2) { Some(value) } else { None };
        engine.write(vec![(at, damage)]).unwrap();
        assert!(matches!(round(&state, 10), Err(StateError::Damaged(_))), "seed {seed}");
    }
}

/// Sled's files under constant writes: never a false alarm.
#[test]
fn sleds_files_are_read_while_it_writes_them() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(Arc::new(SledEngine::open(directory.path()).unwrap()), ROOMY).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = numbers(1);
            for number in 0..4_000_u32 {
                run(&state, &change(&mut rng));
                if number.is_multiple_of(8) {
                    state.flush().unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut rounds = 0;
        while !done.load(Ordering::Acquire) || rounds < 2 {
            round(&state, 64).unwrap();
            rounds += 1;
        }
    });
}

/// A bit that flips in the file of a running engine is found within a round, or it lies where it
/// does not matter: the state opens as it was.
#[test]
fn a_bit_that_flips_in_sleds_file_is_found_or_does_not_matter() {
    let (mut found, mut harmless) = (0, 0);
    for seed in 0..24 {
        let mut rng = numbers(100 + seed);
        let directory = tempfile::tempdir().unwrap();
        let engine = Arc::new(SledEngine::open(directory.path()).unwrap());
        let state = State::open(Arc::clone(&engine) as Arc<dyn StateEngine>, ROOMY).unwrap();
        for number in 0..150_u32 {
            run(&state, &change(&mut rng));
            if number.is_multiple_of(8) {
                state.flush().unwrap();
            }
        }
        state.flush().unwrap();
        engine.flush().unwrap();
        round(&state, 64).unwrap();
        let path = directory.path().join("db");
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let at = rng() % file.metadata().unwrap().len();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 << (rng() % 8);
        file.write_all_at(&byte, at).unwrap();
        let expected = state.applied().state_hash;
        match round(&state, 64) {
            Err(StateError::Damaged(_)) => found += 1,
            Err(error) => panic!("seed {seed}: {error}"),
            Ok(()) => {
                harmless += 1;
                drop((state, engine));
                let engine = Arc::new(SledEngine::open(directory.path()).unwrap());
                let state = State::open(engine, ROOMY).unwrap();
                assert_eq!(state.applied().state_hash, expected, "seed {seed}, byte {at}");
            }
        }
    }
    assert!(found >= 12, "found {found}, harmless {harmless}");
}

/// A state that was closed in good order is not scanned by the next start of the same boot. What
/// sled cannot read then must not be closed in good order once more: every start would meet it.
#[test]
fn a_state_that_sled_cannot_read_is_not_closed_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let engine = Arc::new(SledEngine::open(directory.path())?);
        State::open_in_boot(engine, ROOMY, [7; 16])
    };
    let state = open().unwrap();
    for number in 0..600_u32 {
        let long = put(&format!("k{number}"), vec![number as u8; 4_000]);
        run(&state, &writes(vec![long]));
    }
    state.close().unwrap();
    drop(state);
    // What is read for opening is whole; what is read later is not.
    let state = open().unwrap();
    let file = OpenOptions::new().write(true).open(directory.path().join("db")).unwrap();
    for at in (0..file.metadata().unwrap().len()).step_by(1 << 10) {
        file.write_all_at(&[0x5a; 16], at).unwrap();
    }
    assert!(matches!(read_all(&state), Err(StateError::Engine(_))));
    assert!(matches!(state.close(), Err(StateError::Damaged(_))));
    drop(state);
    assert!(open().is_err(), "it is scanned");
}

fn read_all(state: &State) -> Result<(), StateError> {
    let mut export = state.export()?;
    while export.next_chunk()?.is_some() {}
    Ok(())
}

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::v1::entry::Payload;
use crate::v1::{Blank, Entry, LogId};

const CONFIG: StateConfig =
    StateConfig { overlay_bytes_max: 1 << 20, undo_bytes_max: 1 << 20, checkpoint_entries: 1_024 };

struct Place {
    _root: tempfile::TempDir,
    directory: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { directory: root.path().join("state"), _root: root }
    }

    fn open(&self) -> (State, Option<Rebuilt>) {
        open_directory(&self.directory, CONFIG, [1; 16]).unwrap()
    }

    /// A state at entry 1, opened and closed.
    fn filled() -> Self {
        let place = Self::new();
        let (state, rebuilt) = place.open();
        assert_eq!(rebuilt, None);
        let id = Some(LogId { term: 1, leader_id: 1, index: 1 });
        state.apply(&Entry { id, payload: Some(Payload::Blank(Blank {})) }).unwrap();
        state.close().unwrap();
        place
    }

    fn is_marked(&self) -> bool {
        self.directory.join(MARKER).exists()
    }
}

fn applied(state: &State) -> Option<u64> {
    state.applied_id().map(|id| id.index)
}

#[test]
fn a_state_that_opens_is_kept() {
    let place = Place::filled();
    for _ in 0..2 {
        let (state, rebuilt) = place.open();
        assert_eq!((applied(&state), rebuilt), (Some(1), None));
        assert!(!place.is_marked());
    }
}

#[test]
fn a_damaged_state_is_set_aside_and_begins_empty() {
    let place = Place::filled();
    {
        let engine = SledEngine::open(&place.directory).unwrap();
        engine.write(vec![(b"\0meta".to_vec(), Some(b"garbage".to_vec()))]).unwrap();
        engine.flush().unwrap();
    }
    let (state, rebuilt) = place.open();
    let rebuilt = rebuilt.expect("it was damaged");
    assert!(rebuilt.because.starts_with("the state is damaged"), "{}", rebuilt.because);
    assert_eq!(applied(&state), None);
    assert!(rebuilt.set_aside.join("db").exists() && !place.is_marked());
}

#[test]
fn files_that_sled_refuses_are_set_aside_too() {
    let place = Place::filled();
    let file = place.directory.join("db");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let (state, rebuilt) = place.open();
    assert!(rebuilt.is_some());
    assert_eq!(applied(&state), None);
}

#[test]
fn an_opening_that_never_returned_leads_to_a_rebuild() {
    let place = Place::filled();
    let panics = || -> Result<(), StateError> {
        assert!(place.is_marked(), "the marker comes first");
        panic!("as sled may")
    };
    catch_unwind(AssertUnwindSafe(|| open_or_set_aside(&place.directory, panics))).unwrap_err();
    let (state, rebuilt) = place.open();
    assert!(rebuilt.expect("it was marked").because.contains("the process ended"));
    assert_eq!(applied(&state), None);
    drop(state);
    assert_eq!(place.open().1, None, "the new one is good");
}

#[test]
fn an_older_state_that_was_set_aside_is_replaced() {
    let place = Place::filled();
    for round in [b"first", b"later"] {
        fs::write(place.directory.join(MARKER), b"").unwrap();
        fs::write(place.directory.join("round"), round).unwrap();
        let set_aside = place.open().1.expect("it was marked").set_aside;
        assert_eq!(fs::read(set_aside.join("round")).unwrap(), round);
    }
}

#[test]
fn where_not_even_an_empty_state_can_be_made_the_old_one_stays() {
    let place = Place::filled();
    let tries = Cell::new(0);
    let full = || -> Result<(), StateError> {
        tries.set(tries.get() + 1);
        Err(io::Error::from(io::ErrorKind::StorageFull).into())
    };
    assert!(open_or_set_aside(&place.directory, full).is_err());
    assert_eq!(tries.get(), 2);
    let (state, rebuilt) = place.open();
    assert_eq!((applied(&state), rebuilt), (Some(1), None));
}

#[test]
fn the_watchdog_barks_in_time_or_never() {
    let (sender, receiver) = mpsc::channel();
    let signal = move || sender.send(()).unwrap();
    let watchdog = watch(Duration::from_millis(1), signal.clone()).unwrap();
    receiver.recv().expect("it barked");
    drop(watchdog);
    drop(watch(Duration::from_secs(3_600), signal).unwrap());
    receiver.recv().expect_err("its thread ended without barking");
}

#[test]
fn more_bytes_may_take_longer() {
    let place = Place::filled();
    let before = opening_time_max(&place.directory);
    let file = File::create(place.directory.join("db2")).unwrap();
    file.set_len(100 * SCANNED_BYTES_PER_S_MIN).unwrap();
    assert_eq!(opening_time_max(&place.directory), before + Duration::from_secs(100));
    assert_eq!(opening_time_max(Path::new("/nowhere/at/all")), OPENING_TIME_MIN);
}

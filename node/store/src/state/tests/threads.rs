//! Readers and exports beside an applier and a flusher, on real threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const ENTRIES: u64 = 3_000;
const NAMES: u64 = 24;

/// After entry `revision`, `d` holds exactly the names whose bit is set in this mask; each was
/// written by the last entry that had its turn.
fn present(revision: u64, name: u64) -> bool {
    revision >= 1 && (revision * 7 + name * 13) % 5 < 3
}

fn command(revision: u64) -> Command {
    let mut command = writes(vec![put("d/same", revision.to_string())]);
    for name in 0..NAMES {
        let at = format!("d/n{name:02}");
        // Some values are long, so that parts are replaced under readers too.
        let value = revision.to_string().repeat(if name % 8 == 0 { 3_000 } else { 1 });
        command.writes.push(if present(revision, name) { put(&at, value) } else { delete(&at) });
    }
    command
}

fn check(view: &View, page: usize) -> Result<(), StateError> {
    let revision = view.revision();
    let mut expected: Vec<_> = (0..NAMES).filter(|name| present(revision, *name)).collect();
    if revision == 0 {
        expected.clear();
    }
    let same = view.get(&key("d/same"))?;
    assert_eq!(same.map_or(0, |row| row.revision), revision);
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let children = view.children(&path("d"), after.as_ref(), page)?;
        let Some(last) = children.last() else { break };
        after = Some(last.clone());
        names.extend(children.into_iter().map(|child| child.name));
    }
    let mut wanted: Vec<_> =
        expected.iter().map(|name| Bytes::from(format!("n{name:02}"))).collect();
    if revision > 0 {
        wanted.push(Bytes::from_static(b"same"));
    }
    assert_eq!(names, wanted, "at revision {revision}");
    for name in expected {
        let row = view.get(&key(&format!("d/n{name:02}")))?.expect("it was listed");
        assert_eq!(row.revision, revision);
        assert!(row.value.starts_with(revision.to_string().as_bytes()));
    }
    Ok(())
}

/// Ends the other threads' loops, whether the applier finished or failed.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn stress(engine: Arc<dyn StateEngine>, entries: u64) {
    let config = StateConfig {
        overlay_bytes_max: 400_000,
        undo_bytes_max: 4 << 20,
        checkpoint_entries: 1_024,
    };
    let state = State::open(engine, config).unwrap();
    let done = AtomicBool::new(false);
    let hashes = Mutex::new(BTreeMap::from([(0, StateHash::default())]));
    let done = &done;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _done = Done(done);
            for revision in 1..=entries {
                // The hash is known before anyone can export at this revision.
                let mut hashes = hashes.lock().unwrap();
                run(&state, &command(revision));
                hashes.insert(revision, state.applied().state_hash);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                state.flush().unwrap();
            }
        });
        for reader in 0..3 {
            let state = &state;
            scope.spawn(move || {
                let mut checked = 0;
                while !done.load(Ordering::Relaxed) || checked == 0 {
                    let views = [state.view(), state.view()];
                    for view in views.iter().chain(&views) {
                        match check(view, 1 + reader * 9) {
                            Ok(()) => checked += 1,
                            Err(StateError::ViewExpired) => {}
                            Err(error) => panic!("at revision {}: {error}", view.revision()),
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut copied = 0;
            while !done.load(Ordering::Relaxed) || copied == 0 {
                let mut export = state.export().unwrap();
                let header = export.header().clone();
                let copy = fresh();
                let mut import = copy.import(header.clone()).unwrap();
                loop {
                    match export.next_chunk() {
                        Ok(Some(chunk)) => import.push(chunk).unwrap(),
                        Ok(None) => {
                            import.finish().unwrap();
                            copied += 1;
                            break;
                        }
                        Err(StateError::ViewExpired) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                if let Some(id) = copy.applied_id() {
                    let hash = hashes.lock().unwrap()[&id.index];
                    assert_eq!(copy.applied().state_hash, hash);
                }
            }
        });
    });
    check(&state.view(), 5).unwrap();
    assert_eq!(state.shared.read().undo.bytes(), 0);
}

#[test]
fn views_hold_while_entries_are_applied_and_flushed() {
    stress(Arc::new(MemoryEngine::new()), ENTRIES);
}

#[test]
fn views_hold_on_sled() {
    let directory = tempfile::tempdir().unwrap();
    stress(Arc::new(SledEngine::open(directory.path()).unwrap()), ENTRIES / 6);
}

//! Rows, directories, conditions and old views against a model that copies everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::state::key as layout;

type Path = Vec<Bytes>;

#[derive(Clone, Default)]
struct Model {
    rows: BTreeMap<Path, Row>,
    flat: BTreeMap<Path, Row>,
    directories: BTreeMap<Path, u64>,
}

impl Model {
    fn children(&self, directory: &[Bytes]) -> BTreeSet<Child> {
        let below = self.rows.keys().filter(|row| row.len() > directory.len());
        let below = below.filter(|row| row.starts_with(directory));
        let child = |row: &Path| {
            let depth = directory.len();
            Child { name: row[depth].clone(), directory: row.len() > depth + 1 }
        };
        below.map(child).collect()
    }

    fn directory_revision(&self, directory: &[Bytes]) -> u64 {
        self.directories.get(directory).copied().unwrap_or(0)
    }

    fn row_revision(&self, key: &Key) -> u64 {
        self.get(key).map_or(0, |row| row.revision)
    }

    fn get(&self, key: &Key) -> Option<&Row> {
        let rows = if key.flat { &self.flat } else { &self.rows };
        rows.get(&key.segments)
    }

    fn write(&mut self, revision: u64, writes: &[Write]) {
        let before = self.clone();
        for write in writes {
            let key = write.key.as_ref().unwrap();
            let rows = if key.flat { &mut self.flat } else { &mut self.rows };
            match &write.value {
                Some(value) => {
                    rows.insert(key.segments.clone(), Row { revision, value: value.clone() })
                }
                None => rows.remove(&key.segments),
            };
        }
        for directory in all_directories() {
            let now = self.children(&directory);
            if now.is_empty() {
                self.directories.remove(&directory);
            } else if now != before.children(&directory) {
                self.directories.insert(directory, revision);
            }
        }
    }

    /// The set hash, worked out from nothing.
    fn hash(&self) -> StateHash {
        let mut hash = SetHash::default();
        for (flat, rows) in [(false, &self.rows), (true, &self.flat)] {
            for (segments, row) in rows {
                let at = layout::row(&Key { segments: segments.clone(), flat }).unwrap();
                hash.add(&at, row.revision, &row.value);
            }
        }
        for (directory, revision) in &self.directories {
            let count = self.children(directory).len() as u64;
            hash.add(&layout::directory(directory), *revision, &count.to_be_bytes());
        }
        hash.value()
    }
}

const NAMES: [&str; 3] = ["a", "ab", "b"];

fn all_directories() -> Vec<Path> {
    let mut directories = vec![Path::new()];
    for depth in 0..2 {
        let parents: Vec<_> = directories.iter().filter(|at| at.len() == depth).cloned().collect();
        for parent in parents {
            directories.extend(NAMES.map(|name| [parent.clone(), path(name)].concat()));
        }
    }
    directories
}

fn all_keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for directory in all_directories() {
        for (name, flat) in NAMES.iter().flat_map(|name| [(name, false), (name, true)]) {
            keys.push(Key { segments: [directory.clone(), path(name)].concat(), flat });
        }
    }
    keys
}

#[derive(Debug, Clone)]
enum Step {
    Command { conditions: Vec<(usize, bool, bool)>, writes: Vec<(usize, Option<usize>)> },
    Blank,
    Flush,
    OpenView,
    DropView(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Long values cross the engine's parts.
    let length = prop_oneof![4 => 0usize..40, 1 => Just(4_080), 1 => Just(4_081), 1 => Just(9_000)];
    let writes =
        proptest::collection::vec((any::<usize>(), proptest::option::weighted(0.6, length)), 0..5);
    let condition = (any::<usize>(), any::<bool>(), proptest::bool::weighted(0.85));
    let conditions = proptest::collection::vec(condition, 0..3);
    let step = prop_oneof![
        6 => (conditions, writes).prop_map(|(conditions, writes)| Step::Command { conditions, writes }),
        1 => Just(Step::Blank),
        2 => Just(Step::Flush),
        2 => Just(Step::OpenView),
        1 => any::<usize>().prop_map(Step::DropView),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The real command of a step, and whether the model says it must be executed.
fn command(
    model: &Model,
    index: u64,
    conditions: &[(usize, bool, bool)],
    writes: &[(usize, Option<usize>)],
) -> (Command, bool) {
    let (keys, directories) = (all_keys(), all_directories());
    let mut command = Command::default();
    for (at, of_children, holds) in conditions {
        let wrong = u64::from(!holds);
        command.conditions.push(if *of_children {
            let directory = &directories[at % directories.len()];
            if_children(directory.clone(), model.directory_revision(directory) + wrong)
        } else {
            let key = &keys[at % keys.len()];
            if_key(key.clone(), model.row_revision(key) + wrong)
        });
    }
    let mut seen = BTreeSet::new();
    for (at, length) in writes {
        let at = at % keys.len();
        if seen.insert(at) {
            let value = length.map(|length| Bytes::from(vec![index as u8; length]));
            command.writes.push(Write { key: Some(keys[at].clone()), value });
        }
    }
    (command, conditions.iter().all(|(_, _, holds)| *holds))
}

fn check_view(view: &View, model: &Model) {
    for key in all_keys() {
        assert_eq!(view.get(&key).unwrap().as_ref(), model.get(&key), "row {key:?}");
    }
    for directory in all_directories() {
        let expected = model.directory_revision(&directory);
        assert_eq!(view.directory_revision(&directory).unwrap(), expected, "{directory:?}");
        let expected: Vec<_> = model.children(&directory).into_iter().collect();
        assert_eq!(view.children(&directory, None, 100).unwrap(), expected);
        // The same one by one.
        let mut after: Option<Child> = None;
        for child in &expected {
            let page = view.children(&directory, after.as_ref(), 1).unwrap();
            assert_eq!(page, std::slice::from_ref(child));
            after = Some(child.clone());
        }
        assert!(view.children(&directory, after.as_ref(), 1).unwrap().is_empty());
    }
}

/// Runs the steps; `flush_apart` makes flushes of this state differ from another's.
fn play(state: &State, steps: &[Step], flush_apart: bool) -> Vec<StateHash> {
    let mut versions = vec![Model::default()];
    let mut views = Vec::new();
    let mut hashes = Vec::new();
    for step in steps {
        let index = versions.len() as u64;
        let model = versions.last().unwrap();
        match step {
            Step::Command { conditions, writes } => {
                let (command, holds) = command(model, index, conditions, writes);
                let mut next = model.clone();
                let expected = if holds {
                    next.write(index, &command.writes);
                    Outcome::Applied { revision: index }
                } else {
                    Outcome::ConditionFailed
                };
                assert_eq!(run(state, &command), expected);
                versions.push(next);
            }
            Step::Blank => {
                let mut entry = entry_at(index, &Command::default());
                entry.payload = Some(entry::Payload::Blank(crate::v1::Blank {}));
                assert_eq!(state.apply(&entry).unwrap(), Outcome::Nothing);
                versions.push(model.clone());
            }
            Step::Flush if !flush_apart => assert!(!state.flush().unwrap()),
            Step::OpenView => views.push(state.view()),
            Step::DropView(_) if views.is_empty() => {}
            Step::DropView(at) => {
                let view = views.swap_remove(at % views.len());
                check_view(&view, &versions[view.revision() as usize]);
            }
            Step::Flush => {}
        }
        let hash = state.applied().state_hash;
        assert_eq!(hash, versions.last().unwrap().hash());
        hashes.push(hash);
    }
    views.push(state.view());
    for view in &views {
        check_view(view, &versions[view.revision() as usize]);
    }
    drop(views);
    assert_eq!(state.shared.read().undo.bytes(), 0, "no view is open, so nothing is kept");
    hashes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model_whenever_it_flushes(steps in steps()) {
        let engine = Arc::new(MemoryEngine::new());
        let first = play(&open(&engine).unwrap(), &steps, false);
        // No room in the overlay: every apply flushes.
        let tight = StateConfig { overlay_bytes_max: 1, ..ROOMY };
        let tight = State::open(Arc::new(MemoryEngine::new()), tight).unwrap();
        prop_assert_eq!(&first, &play(&tight, &steps, true));

        // A copy of it is equal, and is found whole when it is opened again.
        let (header, chunks) = chunks(&tight);
        let engine = Arc::new(MemoryEngine::new());
        let copy = open(&engine).unwrap();
        restore(&copy, header, chunks);
        prop_assert_eq!(copy.applied().state_hash, tight.applied().state_hash);
        let again = open(&engine).unwrap();
        prop_assert_eq!(again.applied().state_hash, tight.applied().state_hash);
        prop_assert_eq!(again.applied().log_id, tight.applied().log_id);
    }
}

#[test]
fn a_row_and_a_directory_of_one_name_are_two_children() {
    let state = fresh();
    run(&state, &writes(vec![put("x", "row"), put("x/y", "below"), put("w", "")]));
    assert_eq!(children(&state.view(), ""), ["w", "x", "x/"]);
    state.flush().unwrap();
    run(&state, &writes(vec![delete("x")]));
    assert_eq!(children(&state.view(), ""), ["w", "x/"]);
}

#[test]
fn the_order_of_writes_within_a_command_does_not_show() {
    let (one, other) = (fresh(), fresh());
    run(&one, &writes(vec![put("d/x", "1")]));
    run(&other, &writes(vec![put("d/x", "1")]));
    run(&one, &writes(vec![delete("d/x"), put("d/y", "2")]));
    run(&other, &writes(vec![put("d/y", "2"), delete("d/x")]));
    assert_eq!(one.applied().state_hash, other.applied().state_hash);
    // The directory stayed, so its parent did not change.
    assert_eq!(one.view().directory_revision(&[]).unwrap(), 1);
    assert_eq!(one.view().directory_revision(&path("d")).unwrap(), 2);
}

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::ledger::{Condition, Ledger, Row};
use crate::testing::{MemoryLedger, block_on, initialised, opened, path, ports, static_recipient};
use crate::{CommitOutcome, HashPurpose, RootKey, SealKey, seal_record, unwrap_root_key};

struct Cluster {
    ledger: Arc<MemoryLedger>,
    barrier: Arc<Barrier>,
}

fn cluster() -> Cluster {
    let ledger = MemoryLedger::new();
    let barrier = Arc::new(initialised(&ledger));
    Cluster { ledger, barrier }
}

impl Cluster {
    fn begin(&self) -> Transaction {
        self.barrier.transaction(self.ledger.view())
    }

    fn put(&self, names: &[&str]) {
        let mut tx = self.begin();
        for name in names {
            tx.put(&path(name), Bytes::copy_from_slice(name.as_bytes())).unwrap();
        }
        assert!(matches!(block_on(tx.commit(None)), Ok(CommitOutcome::Applied { .. })));
    }

    fn list(&self, directory: &str) -> Vec<String> {
        self.begin().list(&path(directory), None, usize::MAX).unwrap().names
    }

    /// The row's place in the ledger.
    fn key(&self, name: &str) -> Key {
        self.begin().row_key(&path(name)).unwrap()
    }
}

fn damaged<T>(result: Result<T, BarrierError>) -> bool {
    matches!(result, Err(BarrierError::Damaged(_)))
}

#[test]
fn a_fresh_cluster_opens_with_its_seal_key_only() {
    let ledger = MemoryLedger::new();
    assert!(seal_record(&*ledger.view()).unwrap().is_none());
    let nobody = RootKey::new(crate::testing::key32(1));
    let early = Barrier::open(ledger.port(), ports(1), nobody);
    assert!(matches!(early, Err(BarrierError::NotInitialized)));
    let barrier = initialised(&ledger);
    let record = seal_record(&*ledger.view()).unwrap().unwrap();
    assert_eq!((record.cluster_name.as_str(), record.recipients.len()), ("test", 1));
    let wrong = unwrap_root_key(&record, 0, &SealKey::new(crate::testing::key32(8)));
    assert!(matches!(wrong, Err(BarrierError::WrongKey)));
    let right = unwrap_root_key(&record, 0, &SealKey::new(crate::testing::key32(7))).unwrap();
    let other = Barrier::open(ledger.port(), ports(2), right).unwrap();
    assert_eq!(other.cluster_id(), barrier.cluster_id());
    assert_eq!(
        other.keyed_hash(HashPurpose::Token, b"t"),
        barrier.keyed_hash(HashPurpose::Token, b"t")
    );
    let stranger = RootKey::new(crate::testing::key32(1));
    let refused = Barrier::open(ledger.port(), ports(3), stranger);
    assert!(matches!(refused, Err(BarrierError::WrongKey)));
}

#[test]
fn a_second_initialisation_is_refused_also_in_a_race() {
    let ledger = MemoryLedger::new();
    let other = Arc::clone(&ledger);
    ledger.before_commit(move |_| drop(initialised(&other)));
    let mut outcomes = Vec::new();
    for seed in [5, 6] {
        let recipients = vec![static_recipient(9)];
        outcomes.push(block_on(Barrier::initialise(
            ledger.port(),
            ports(seed),
            [9; 16],
            "late",
            recipients,
        )));
    }
    for outcome in outcomes {
        assert!(matches!(outcome, Err(BarrierError::AlreadyInitialized)));
    }
    let record = seal_record(&*ledger.view()).unwrap().unwrap();
    assert_eq!(record.cluster_name, "test", "the winner's record stands");
}

#[test]
fn values_come_back_with_their_revision() {
    let cluster = cluster();
    cluster.put(&["a/b"]);
    let mut tx = cluster.begin();
    let plain = tx.get(&path("a/b")).unwrap().unwrap();
    assert_eq!((plain.value.as_ref(), plain.revision), (&b"a/b"[..], tx.view().revision()));
    assert!(tx.get(&path("a")).unwrap().is_none(), "a/ is a directory, a is no row");
    assert!(tx.get(&path("a/c")).unwrap().is_none());
    let elsewhere = Path { mount: MountId([4; 16]), ..path("a/b") };
    assert!(tx.get(&elsewhere).unwrap().is_none());
    let flat = Path { flat: true, ..path("a/b") };
    assert!(tx.get(&flat).unwrap().is_none());
}

#[test]
fn own_writes_are_read_and_nobody_else_sees_them_before_the_commit() {
    let cluster = cluster();
    cluster.put(&["old"]);
    let mut tx = cluster.begin();
    tx.put(&path("new"), Bytes::from_static(b"1")).unwrap();
    tx.put(&path("new"), Bytes::from_static(b"2")).unwrap();
    tx.delete(&path("old")).unwrap();
    let own = tx.get(&path("new")).unwrap().unwrap();
    assert_eq!((own.value.as_ref(), own.revision), (&b"2"[..], 0));
    assert!(tx.get(&path("old")).unwrap().is_none());
    assert!(cluster.begin().get(&path("new")).unwrap().is_none());
    assert!(tx.rows.is_empty(), "own writes are no conditions");
    assert!(!tx.is_empty());
    block_on(tx.commit(None)).unwrap();
    assert_eq!(cluster.list(""), ["new"]);
    assert_eq!(cluster.begin().get(&path("new")).unwrap().unwrap().value, "2");
}

#[test]
fn values_have_a_limit() {
    let mut tx = cluster().begin();
    let refused = tx.put(&path("a"), vec![0; VALUE_BYTES_MAX + 1].into());
    assert!(matches!(refused, Err(BarrierError::TooLarge { bytes_max: VALUE_BYTES_MAX, .. })));
    tx.put(&path("a"), vec![0; VALUE_BYTES_MAX].into()).unwrap();
}

#[test]
fn impossible_paths_are_refused_everywhere() {
    let mut tx = cluster().begin();
    let segments = |names: &[&str]| Path {
        segments: names.iter().map(|name| (*name).to_owned()).collect(),
        ..path("")
    };
    let deep: Vec<&str> = vec!["d"; NAMES_PER_PATH_MAX + 1];
    let bad = [segments(&[]), segments(&["a", ""]), segments(&["a/b"]), segments(&["\0seal"])];
    for path in bad.into_iter().chain([segments(&deep)]) {
        assert!(matches!(tx.get(&path), Err(BarrierError::BadName(_))), "{path:?}");
        assert!(matches!(tx.put(&path, Bytes::new()), Err(BarrierError::BadName(_))));
        assert!(matches!(tx.delete(&path), Err(BarrierError::BadName(_))));
    }
    let flat = Path { flat: true, ..path("a") };
    assert!(matches!(tx.list(&flat, None, 1), Err(BarrierError::BadName(_))));
    assert!(tx.get(&segments(&deep[1..])).unwrap().is_none());
}

#[test]
fn flat_rows_are_rows_of_their_own() {
    let cluster = cluster();
    cluster.put(&["t/x"]);
    let flat = Path { flat: true, ..path("t/x") };
    let mut tx = cluster.begin();
    assert!(tx.get(&flat).unwrap().is_none());
    tx.put(&flat, Bytes::from_static(b"flat")).unwrap();
    assert_eq!(tx.list(&path("t"), None, 9).unwrap().names, ["x"]);
    block_on(tx.commit(None)).unwrap();
    let batch = cluster.ledger.log().pop().unwrap();
    assert!(
        batch
            .conditions
            .iter()
            .any(|condition| matches!(condition, Condition::Key { key, revision: 0 } if key.flat)),
        "a flat row read is a condition as any other"
    );
    let mut tx = cluster.begin();
    assert_eq!(tx.get(&flat).unwrap().unwrap().value, "flat");
    assert_eq!(tx.get(&path("t/x")).unwrap().unwrap().value, "t/x");
}

#[test]
fn listing_sorts_cuts_and_tells_directories() {
    let cluster = cluster();
    cluster.put(&["b", "a/x", "a/y", "c/d/e", "a", "B", "é"]);
    assert_eq!(cluster.list(""), ["B", "a", "a/", "b", "c/", "é"]);
    assert_eq!(cluster.list("a"), ["x", "y"]);
    assert_eq!(cluster.list("c"), ["d/"]);
    assert_eq!(cluster.list("none"), Vec::<String>::new());
    let mut tx = cluster.begin();
    let names = tx.list(&path(""), Some("a"), 2).unwrap();
    assert_eq!((names.names, names.more), (vec!["a/".to_owned(), "b".to_owned()], true));
    let names = tx.list(&path(""), Some("b"), 2).unwrap();
    assert_eq!((names.names, names.more), (vec!["c/".to_owned(), "é".to_owned()], false));
    let names = tx.list(&path(""), None, 0).unwrap();
    assert_eq!((names.names.len(), names.more), (0, true));
}

/// A walk in pieces meets every name once, whatever else comes and goes meanwhile.
#[test]
fn a_survey_in_pieces_meets_every_name_once() {
    let cluster = cluster();
    let names: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
    let mut tx = cluster.begin();
    for name in &names {
        tx.put(&path(&format!("d/{name}/below")), Bytes::new()).unwrap();
        tx.put(&Path { flat: true, ..path(&format!("f/{name}")) }, Bytes::new()).unwrap();
    }
    block_on(tx.commit(None)).unwrap();
    for (directory, slash) in [(path("d"), "/"), (Path { flat: true, ..path("f") }, "")] {
        let (mut met, mut mark) = (Vec::new(), None);
        loop {
            let piece = cluster.begin().survey_piece(&directory, mark.as_ref(), 3).unwrap();
            met.extend(piece.0);
            cluster.put(&[&format!("other/{}", met.len())]);
            mark = piece.1;
            if mark.is_none() {
                break;
            }
        }
        met.sort_unstable();
        let expected: Vec<_> = names.iter().map(|name| [name, slash].concat()).collect();
        assert_eq!(met, expected);
    }
    let (none, mark) = cluster.begin().survey_piece(&path("none"), None, 3).unwrap();
    assert!(none.is_empty() && mark.is_none());
}

/// Deleting the last row of a directory takes the directory away, in the transaction as after it.
#[test]
fn a_directory_goes_with_its_last_row() {
    let cluster = cluster();
    cluster.put(&["a/b/c", "a/b/d", "a/e/f"]);
    let mut tx = cluster.begin();
    tx.delete(&path("a/b/c")).unwrap();
    assert_eq!(tx.list(&path("a"), None, 9).unwrap().names, ["b/", "e/"]);
    tx.delete(&path("a/b/d")).unwrap();
    assert_eq!(tx.list(&path("a"), None, 9).unwrap().names, ["e/"]);
    tx.delete(&path("a/e/f")).unwrap();
    assert_eq!(tx.list(&path(""), None, 9).unwrap().names, Vec::<String>::new());
    tx.put(&path("a/e/g"), Bytes::new()).unwrap();
    assert_eq!(tx.list(&path(""), None, 9).unwrap().names, ["a/"]);
    block_on(tx.commit(None)).unwrap();
    assert_eq!(cluster.list("a"), ["e/"]);
}

#[test]
fn the_barriers_own_rows_are_not_listed() {
    let cluster = cluster();
    let core = Path { mount: MountId::CORE, ..path("") };
    let mut tx = cluster.begin();
    assert_eq!(tx.list(&core, None, 9).unwrap().names, Vec::<String>::new());
    tx.put(&Path { mount: MountId::CORE, ..path("seal") }, Bytes::from_static(b"mine")).unwrap();
    block_on(tx.commit(None)).unwrap();
    assert_eq!(cluster.begin().list(&core, None, 9).unwrap().names, ["seal"]);
    assert!(seal_record(&*cluster.ledger.view()).unwrap().is_some(), "no name collides with it");
}

/// The cache is asked by revision: a view sees its own list, before and after a change.
#[test]
fn every_view_has_its_own_listing() {
    let cluster = cluster();
    cluster.put(&["a", "b"]);
    let old = cluster.ledger.view();
    assert_eq!(cluster.list(""), ["a", "b"]);
    cluster.put(&["c"]);
    assert_eq!(cluster.list(""), ["a", "b", "c"]);
    let mut tx = cluster.barrier.transaction(old);
    assert_eq!(tx.list(&path(""), None, 9).unwrap().names, ["a", "b"]);
    assert_eq!(cluster.list(""), ["a", "b", "c"]);
}

/// A directory above the cache's budget is streamed, and gives the same pages.
#[test]
fn a_large_directory_is_streamed() {
    let cluster = cluster();
    let long = "n".repeat(900);
    let count = DIRECTORY_BYTES_MAX / 900 + 50;
    let names: Vec<String> = (0..count).map(|at| format!("{at:06}{long}")).collect();
    for names in names.chunks(500) {
        cluster.put(&names.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut tx = cluster.begin();
    tx.delete(&path(&names[1])).unwrap();
    tx.put(&path("zzz"), Bytes::new()).unwrap();
    let first = tx.list(&path(""), None, 3).unwrap();
    assert_eq!(first.names, [&*names[0], &*names[2], &*names[3]]);
    assert!(first.more);
    let last = tx.list(&path(""), Some(&names[count - 2]), 3).unwrap();
    assert_eq!(last.names, [&*names[count - 1], "zzz"]);
    assert!(!last.more);
    let segments = tx.directory_segments(&path("")).unwrap();
    let revision = tx.view.directory_revision(&segments).unwrap();
    assert!(cluster.barrier.listings.lock().unwrap().get(&segments, revision).is_none());
}

#[test]
fn moved_swapped_and_edited_rows_do_not_open() {
    let cluster = cluster();
    cluster.put(&["a", "b", "d/a"]);
    let (a, b) = (cluster.key("a"), cluster.key("b"));
    let (value_a, value_b) = (cluster.ledger.value(&a), cluster.ledger.value(&b));
    cluster.ledger.tamper(a.clone(), value_b);
    cluster.ledger.tamper(b, value_a.clone());
    cluster.ledger.tamper(Key { flat: true, ..a.clone() }, value_a.clone());
    cluster.ledger.tamper(cluster.key("d/a"), value_a.clone());
    let mut tx = cluster.begin();
    assert!(damaged(tx.get(&path("a"))));
    assert!(damaged(tx.get(&path("b"))));
    assert!(damaged(tx.get(&path("d/a"))));
    assert!(damaged(tx.get(&Path { flat: true, ..path("a") })));
    for cut in [0, 1, 5, 20, value_a.len() - 1] {
        cluster.ledger.tamper(a.clone(), value_a.slice(..cut));
        assert!(damaged(cluster.begin().get(&path("a"))), "cut to {cut}");
    }
    cluster.ledger.tamper(a, value_a);
    assert_eq!(cluster.begin().get(&path("a")).unwrap().unwrap().value, "a");
}

#[test]
fn a_name_put_into_another_directory_fails_the_list() {
    let cluster = cluster();
    cluster.put(&["d/a"]);
    let mut moved = cluster.key("d/a");
    let value = cluster.ledger.value(&moved);
    moved.segments.remove(2);
    cluster.ledger.tamper(moved.clone(), value);
    // The store would keep the directory's revision; in this one, a write beside it does.
    cluster.put(&["x"]);
    assert!(damaged(cluster.begin().list(&path(""), None, 9)));
}

#[test]
fn a_follower_learns_a_rotation_from_the_view_it_reads() {
    let cluster = cluster();
    let follower = Arc::new(opened(&cluster.ledger, &cluster.barrier, 77));
    cluster.put(&["before"]);
    assert_eq!(block_on(cluster.barrier.rotate()).unwrap(), 2);
    cluster.put(&["after"]);
    assert_eq!(follower.term(), 1);
    let mut tx = follower.transaction(cluster.ledger.view());
    assert_eq!(tx.get(&path("after")).unwrap().unwrap().value, "after");
    assert_eq!(tx.get(&path("before")).unwrap().unwrap().value, "before");
    assert_eq!(follower.term(), 2);
    // An older view does not take it back.
    let cluster_view = cluster.ledger.view();
    follower.follow(&*cluster_view).unwrap();
    assert_eq!(follower.term(), 2);
}

#[test]
fn a_keyring_that_does_not_open_is_a_wrong_key() {
    let cluster = cluster();
    let key = places::keyring();
    let mut value = cluster.ledger.value(&key).to_vec();
    *value.last_mut().unwrap() ^= 1;
    cluster.ledger.tamper(key, value.into());
    let refused = cluster.barrier.follow(&*cluster.ledger.view());
    assert!(matches!(refused, Err(BarrierError::WrongKey)));
}

#[test]
fn an_old_keyring_put_back_is_noticed() {
    let cluster = cluster();
    let old = cluster.ledger.value(&places::keyring());
    block_on(cluster.barrier.rotate()).unwrap();
    cluster.ledger.tamper(places::keyring(), old);
    assert!(damaged(cluster.barrier.follow(&*cluster.ledger.view())));
}

#[test]
fn a_record_of_a_lost_term_says_which() {
    let cluster = cluster();
    cluster.put(&["a"]);
    let key = cluster.key("a");
    let mut value = cluster.ledger.value(&key).to_vec();
    value[1..5].copy_from_slice(&9_u32.to_be_bytes());
    cluster.ledger.tamper(key, value.into());
    let error = cluster.begin().get(&path("a")).unwrap_err();
    assert!(error.to_string().contains("term 9"), "{error}");
}

/// Canaries as path, mount and value: none is in what goes below the line.
#[test]
fn no_name_and_no_value_crosses_the_line_in_clear() {
    let cluster = cluster();
    cluster.put(&["canary-directory/canary-row"]);
    let mut tx = cluster.begin();
    tx.list(&path("canary-directory"), None, 9).unwrap();
    tx.get(&path("canary-other")).unwrap();
    tx.put(&path("canary-directory/canary-row2"), Bytes::from_static(b"canary-value")).unwrap();
    block_on(tx.commit(None)).unwrap();
    for batch in cluster.ledger.log() {
        let text = format!("{batch:?}");
        assert!(!text.contains("canary"), "{text}");
    }
    assert!(cluster.ledger.keys().len() > 3);
}

/// Equal values and equal rewrites never look alike, and nonces never repeat under a term.
#[test]
fn equal_values_are_sealed_differently() {
    let cluster = cluster();
    for _ in 0..200 {
        cluster.put(&["a", "b"]);
    }
    let mut nonces = BTreeSet::new();
    for write in cluster.ledger.log().iter().flat_map(|batch| &batch.writes) {
        let Some(value) = write.value.as_ref().filter(|_| write.key != places::seal()) else {
            continue;
        };
        assert!(nonces.insert(value.slice(..17)), "a nonce repeats");
    }
    assert!(nonces.len() > 400);
}

/// What a proptest does to a transaction, on a few colliding names.
#[derive(Debug, Clone)]
enum Step {
    Put(String),
    Delete(String),
    Get(String),
    List(String),
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let name = "[ab](/[ab](/[ab])?)?";
    prop_oneof![
        4 => name.prop_map(Step::Put),
        4 => name.prop_map(Step::Delete),
        2 => name.prop_map(Step::Get),
        3 => "([ab](/[ab])?)?".prop_map(Step::List),
        1 => Just(Step::Commit),
    ]
}

/// A directory's names, from all rows' names.
fn model_list(rows: &BTreeSet<String>, directory: &str) -> Vec<String> {
    let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let below = rows.iter().filter_map(|row| row.strip_prefix(&prefix));
    let names: BTreeSet<String> = below
        .map(|rest| rest.split_once('/').map_or(rest.to_owned(), |(name, _)| format!("{name}/")))
        .collect();
    names.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_transaction_reads_as_a_plain_map(steps in prop::collection::vec(step(), 1..40)) {
        let cluster = cluster();
        let mut rows = BTreeSet::new();
        let mut tx = cluster.begin();
        for step in steps {
            match step {
                Step::Put(name) => {
                    tx.put(&path(&name), Bytes::copy_from_slice(name.as_bytes())).unwrap();
                    rows.insert(name);
                }
                Step::Delete(name) => {
                    tx.delete(&path(&name)).unwrap();
                    rows.remove(&name);
                }
                Step::Get(name) => {
                    let value = tx.get(&path(&name)).unwrap().map(|plain| plain.value);
                    let expected = rows.get(&name).map(|name| Bytes::copy_from_slice(name.as_bytes()));
                    prop_assert_eq!(value, expected);
                }
                Step::List(directory) => {
                    let names = tx.list(&path(&directory), None, usize::MAX).unwrap();
                    prop_assert_eq!(names.names, model_list(&rows, &directory));
                    prop_assert!(!names.more);
                }
                Step::Commit => {
                    let outcome = block_on(tx.commit(None)).unwrap();
                    let applied = matches!(outcome, CommitOutcome::Applied { .. });
                    prop_assert!(applied, "nobody else writes");
                    tx = cluster.begin();
                }
            }
        }
    }
}

/// A view that fails, for the paths that a good ledger never takes.
struct BrokenView;

impl LedgerView for BrokenView {
    fn revision(&self) -> u64 {
        1
    }
    fn stamped_ms(&self) -> u64 {
        1
    }
    fn epoch(&self) -> u64 {
        1
    }
    fn get(&self, _: &Key) -> Result<Option<Row>, crate::ledger::LedgerError> {
        Err(crate::ledger::LedgerError::ViewExpired)
    }
    fn directory_revision(&self, _: &[Bytes]) -> Result<u64, crate::ledger::LedgerError> {
        Ok(1)
    }
    fn flat_names(
        &self,
        _: &[Bytes],
        _: Option<&Bytes>,
        _: usize,
    ) -> Result<Vec<Bytes>, crate::ledger::LedgerError> {
        Err(crate::ledger::LedgerError::ViewExpired)
    }
    fn children(
        &self,
        _: &[Bytes],
        _: Option<&Child>,
        _: usize,
    ) -> Result<Vec<Child>, crate::ledger::LedgerError> {
        Err(crate::ledger::LedgerError::ViewExpired)
    }
}

#[test]
fn an_expired_view_is_told() {
    let cluster = cluster();
    let mut tx = cluster.barrier.transaction(Arc::new(BrokenView));
    let expired = |result: BarrierError| {
        matches!(result, BarrierError::Ledger(crate::ledger::LedgerError::ViewExpired))
    };
    assert!(expired(tx.get(&path("a")).unwrap_err()));
    assert!(expired(tx.list(&path(""), None, 9).unwrap_err()));
    assert!(expired(cluster.barrier.follow(&BrokenView).unwrap_err()));
}

//! What tests need of the outside world: a seeded source, a ledger in memory, golden files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::Bytes;
use conclave_memory::SecretKey;
use conclave_ports::{Clock, Ports, Rng, Spawn};
use futures::FutureExt;

use crate::ledger::{
    Batch, BoxFuture, Child, Committed, Condition, Key, Ledger, LedgerError, LedgerView, ReadPoint,
    Row, SessionChange,
};
use crate::{Barrier, MountId, NamespaceId, NewRecipient, Path, RootKey, SealKey};

pub(crate) const CLUSTER_ID: [u8; 16] = [0xc1; 16];

/// A seeded source (SplitMix64). Good enough to be different each time, and nothing more.
pub(crate) struct TestRng(Mutex<u64>);

impl TestRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Rng for TestRng {
    fn fill(&self, out: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for chunk in out.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The barrier neither waits nor starts tasks.
struct Unused;

impl Clock for Unused {
    fn wall_ms(&self) -> u64 {
        panic!("the barrier reads no clock")
    }
    fn monotonic(&self) -> Duration {
        panic!("the barrier reads no clock")
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        panic!("the barrier does not sleep")
    }
}

impl Spawn for Unused {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {
        panic!("the barrier starts no task")
    }
}

pub(crate) fn ports(seed: u64) -> Ports {
    let rng = Arc::new(TestRng::new(seed));
    Ports { clock: Arc::new(Unused), rng, spawn: Arc::new(Unused) }
}

pub(crate) fn key32(byte: u8) -> SecretKey<32> {
    SecretKey::fill_with(|key| key.fill(byte))
}

pub(crate) fn static_recipient(byte: u8) -> NewRecipient {
    let key = SealKey::new(key32(byte));
    NewRecipient { kind: "static".to_owned(), shares: 1, threshold: 1, key }
}

/// Nothing here ever waits, so a future is done at its first poll; unlike an executor, this nests.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the ledger in memory answers at once")
}

/// A cluster with a static seal of bytes 7.
pub(crate) fn initialised(ledger: &Arc<MemoryLedger>) -> Barrier {
    let recipients = vec![static_recipient(7)];
    block_on(Barrier::initialise(ledger.port(), ports(42), CLUSTER_ID, "test", recipients)).unwrap()
}

/// Another node of the same cluster, or the same one after a restart.
pub(crate) fn opened(ledger: &Arc<MemoryLedger>, barrier: &Barrier, seed: u64) -> Barrier {
    let root_key = RootKey::new(SecretKey::fill_with(|key| {
        key.copy_from_slice(barrier.root_key().danger_expose());
    }));
    Barrier::open(ledger.port(), ports(seed), root_key).unwrap()
}

/// A path in the root namespace's mount of bytes 3.
pub(crate) fn path(text: &str) -> Path {
    let segments = text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Path { namespace: NamespaceId::ROOT, mount: MountId([3; 16]), segments, flat: false }
}

/// Compares with `tests/golden/<name>.txt`; `UPDATE=1` rewrites the file.
pub(crate) fn golden(name: &str, lines: &[(&str, &[u8])]) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text: String =
        lines.iter().map(|(label, bytes)| format!("{label}: {}\n", hex::encode(bytes))).collect();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, golden, "{name} changed: data written before would not open any more");
}

#[derive(Clone, Default)]
struct State {
    revision: u64,
    rows: BTreeMap<Key, Row>,
    directories: BTreeMap<Vec<Bytes>, u64>,
    sessions: BTreeSet<Bytes>,
    restores: u64,
    requests: BTreeMap<(Bytes, u64), (Bytes, u64, Bytes)>,
}

/// Made by [`MemoryLedger::backup`].
pub(crate) struct Backup(Arc<State>);

type Hook = Box<dyn FnOnce(&MemoryLedger) + Send>;

/// The ledger's contract in memory, without any network.
#[derive(Default)]
pub(crate) struct MemoryLedger {
    state: RwLock<Arc<State>>,
    log: Mutex<Vec<Batch>>,
    /// Runs before the next commit, once: another node's turn.
    before_commit: Mutex<Option<Hook>>,
    /// What the next commit answers instead of doing anything.
    next_error: Mutex<Option<LedgerError>>,
}

impl MemoryLedger {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn port(self: &Arc<Self>) -> Arc<dyn Ledger> {
        Arc::clone(self) as Arc<dyn Ledger>
    }

    /// Every batch that was applied.
    pub(crate) fn log(&self) -> Vec<Batch> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn before_commit(&self, hook: impl FnOnce(&Self) + Send + 'static) {
        *self.before_commit.lock().unwrap() = Some(Box::new(hook));
    }

    pub(crate) fn fail_next(&self, error: LedgerError) {
        *self.next_error.lock().unwrap() = Some(error);
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.snapshot().rows.keys().cloned().collect()
    }

    pub(crate) fn value(&self, key: &Key) -> Bytes {
        self.snapshot().rows[key].value.clone()
    }

    /// What somebody with the disk could do.
    pub(crate) fn tamper(&self, key: Key, value: Bytes) {
        let mut state = self.state.write().unwrap();
        let state = Arc::make_mut(&mut state);
        state.revision += 1;
        state.rows.insert(key, Row { value, revision: state.revision });
    }

    /// Everything as it is now.
    pub(crate) fn backup(&self) -> Backup {
        Backup(self.snapshot())
    }

    /// As a committed restore: the backup's rows, all of one new revision, in a new epoch.
    pub(crate) fn restore(&self, backup: &Backup) {
        let mut state = self.state.write().unwrap();
        let mut restored = State::clone(&backup.0);
        restored.revision = state.revision + 1;
        restored.restores = state.restores + 1;
        let revision = restored.revision;
        restored.rows.values_mut().for_each(|row| row.revision = revision);
        restored.directories.values_mut().for_each(|directory| *directory = revision);
        restored.sessions.clear();
        restored.requests.clear();
        *state = Arc::new(restored);
    }

    fn snapshot(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap())
    }

    fn commit_now(&self, batch: Batch) -> Result<Committed, LedgerError> {
        let hook = self.before_commit.lock().unwrap().take();
        if let Some(hook) = hook {
            // Outside the lock: the hook commits, too.
            hook(self);
        }
        if let Some(error) = self.next_error.lock().unwrap().take() {
            return Err(error);
        }
        let mut state = self.state.write().unwrap();
        let state = Arc::make_mut(&mut state);
        let committed = state.apply(&batch);
        if matches!(committed, Committed::Applied { .. }) {
            self.log.lock().unwrap().push(batch);
        }
        Ok(committed)
    }
}

impl Ledger for MemoryLedger {
    fn view(&self) -> Arc<dyn LedgerView> {
        self.snapshot()
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<ReadPoint, LedgerError>> {
        let revision = self.snapshot().revision;
        Box::pin(async move { Ok(ReadPoint { revision, leader_ms: revision }) })
    }

    fn write_point(&self) -> Option<ReadPoint> {
        let revision = self.snapshot().revision;
        Some(ReadPoint { revision, leader_ms: revision })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, LedgerError>> {
        Box::pin(async move { self.commit_now(batch) })
    }
}

impl LedgerView for State {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn stamped_ms(&self) -> u64 {
        1000 + self.revision
    }

    fn epoch(&self) -> u64 {
        1 + self.restores
    }

    fn get(&self, key: &Key) -> Result<Option<Row>, LedgerError> {
        Ok(self.rows.get(key).cloned())
    }

    fn directory_revision(&self, directory: &[Bytes]) -> Result<u64, LedgerError> {
        Ok(self.directories.get(directory).copied().unwrap_or(0))
    }

    fn flat_names(
        &self,
        directory: &[Bytes],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Bytes>, LedgerError> {
        let below = |key: &&Key| {
            key.flat && key.segments.len() > directory.len() && key.segments.starts_with(directory)
        };
        let names = self.rows.keys().filter(below).map(|key| key.segments[directory.len()].clone());
        Ok(names.filter(|name| after.is_none_or(|after| name > after)).take(limit).collect())
    }

    fn children(
        &self,
        directory: &[Bytes],
        after: Option<&Child>,
        limit: usize,
    ) -> Result<Vec<Child>, LedgerError> {
        let depth = directory.len();
        let children: BTreeSet<Child> = self
            .below(directory)
            .map(|key| Child {
                name: key.segments[depth].clone(),
                directory: key.segments.len() > depth + 1,
            })
            .collect();
        let rest = children.into_iter().filter(|child| after.is_none_or(|after| child > after));
        Ok(rest.take(limit).collect())
    }
}

impl State {
    fn below(&self, directory: &[Bytes]) -> impl Iterator<Item = &Key> {
        let from = Key { segments: directory.to_vec(), flat: false };
        self.rows
            .range(from..)
            .map(|(key, _)| key)
            .take_while(move |key| key.segments.starts_with(directory))
            .filter(move |key| !key.flat && key.segments.len() > directory.len())
    }

    fn apply(&mut self, batch: &Batch) -> Committed {
        self.revision += 1;
        if let Some(id) = &batch.request_id {
            if !self.sessions.contains(&id.session) {
                return Committed::SessionUnknown;
            }
            if let Some((fingerprint, revision, reply)) =
                self.requests.get(&(id.session.clone(), id.sequence))
            {
                if *fingerprint != id.fingerprint {
                    return Committed::RequestConflict;
                }
                return Committed::Replayed { revision: *revision, reply: reply.clone() };
            }
        }
        if !batch.conditions.iter().all(|condition| self.holds(condition)) {
            return Committed::ConditionFailed;
        }
        for write in &batch.writes {
            self.write(&write.key, write.value.clone());
        }
        match &batch.session {
            Some(SessionChange::Open { session, .. }) => {
                self.sessions.insert(session.clone());
            }
            Some(SessionChange::Close { session }) => {
                self.sessions.remove(session);
            }
            None => {}
        }
        if let Some(id) = &batch.request_id {
            let outcome = (id.fingerprint.clone(), self.revision, id.reply.clone());
            self.requests.insert((id.session.clone(), id.sequence), outcome);
        }
        Committed::Applied { revision: self.revision }
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Key { key, revision } => {
                self.rows.get(key).map_or(0, |row| row.revision) == *revision
            }
            Condition::Children { directory, revision } => {
                self.directories.get(directory).copied().unwrap_or(0) == *revision
            }
        }
    }

    fn write(&mut self, key: &Key, value: Option<Bytes>) {
        let before = self.listed_as(key);
        match value {
            Some(value) => {
                self.rows.insert(key.clone(), Row { value, revision: self.revision });
            }
            None => {
                self.rows.remove(key);
            }
        }
        let after = self.listed_as(key);
        for depth in (0..before.len()).filter(|depth| before[*depth] != after[*depth]) {
            let directory = key.segments[..depth].to_vec();
            if self.below(&directory).next().is_some() {
                self.directories.insert(directory, self.revision);
            } else {
                self.directories.remove(&directory);
            }
        }
    }

    /// For each ancestor directory, whether the child that leads to `key` is there.
    fn listed_as(&self, key: &Key) -> Vec<bool> {
        let depths = if key.flat { 0 } else { key.segments.len() };
        (0..depths)
            .map(|depth| match depth + 1 == key.segments.len() {
                true => self.rows.contains_key(key),
                false => self.below(&key.segments[..=depth]).next().is_some(),
            })
            .collect()
    }
}

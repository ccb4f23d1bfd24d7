//! A ledger in memory and a core on it, for the tests of this crate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use conclave_barrier::ledger::{
    Batch, Child, Committed, Condition, Key, Ledger, LedgerError, LedgerView, ReadPoint, Row,
    SessionChange,
};
use conclave_barrier::{Barrier, NewBarrier, NewRecipient, SealKey};
use conclave_memory::SecretKey;
use conclave_ports::{Clock, Ports, Rng, Spawn};
use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use serde_json::Value;

use crate::{
    Core, CoreParts, EngineRegistry, Error, ErrorCode, Idempotency, Member, MemberList, Operation,
    Operator, ReadLevel, Request, Response, Token,
};

pub(crate) const START_MS: u64 = 1_521_685_466_945;

#[derive(Clone, Default)]
struct State {
    revision: u64,
    stamped_ms: u64,
    rows: BTreeMap<Key, Row>,
    directories: BTreeMap<Vec<Bytes>, u64>,
    sessions: BTreeMap<Bytes, Session>,
    restores: u64,
}

#[derive(Clone, Default)]
struct Session {
    owner: Bytes,
    requests: BTreeMap<u64, (Bytes, Bytes, u64)>,
}

/// How many sessions an owner may have here.
pub(crate) const SESSIONS_MAX: usize = 3;

/// What goes wrong with the next call.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) barrier: Option<LedgerError>,
    pub(crate) commit: Option<LedgerError>,
    /// The commit takes effect, but nobody hears of it.
    pub(crate) lose_reply: bool,
    /// The call never comes back.
    pub(crate) hang_barrier: bool,
    pub(crate) hang_commit: bool,
}

type BeforeCommit = Box<dyn FnMut() + Send>;

/// The replicated map without the replication.
pub(crate) struct MemoryLedger {
    state: Mutex<State>,
    pub(crate) now_ms: AtomicU64,
    pub(crate) faults: Mutex<Faults>,
    /// Runs before a batch is applied: what a rival does meanwhile.
    pub(crate) before_commit: Mutex<Option<BeforeCommit>>,
    pub(crate) barriers: AtomicU64,
    pub(crate) commits: AtomicU64,
}

impl MemoryLedger {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            now_ms: AtomicU64::new(START_MS),
            faults: Mutex::default(),
            before_commit: Mutex::default(),
            barriers: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        }
    }

    /// Every byte that a disk would hold.
    pub(crate) fn all_bytes(&self) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        let mut all = Vec::new();
        for (key, row) in &state.rows {
            key.segments.iter().for_each(|segment| all.extend_from_slice(segment));
            all.extend_from_slice(&row.value);
        }
        for session in state.sessions.values() {
            for (fingerprint, reply, _) in session.requests.values() {
                all.extend_from_slice(fingerprint);
                all.extend_from_slice(reply);
            }
        }
        all
    }

    /// Begins another epoch with the rows as they are, as a restore of a backup made just now.
    pub(crate) fn restore(&self) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        state.restores += 1;
        let revision = state.revision;
        state.rows.values_mut().for_each(|row| row.revision = revision);
        state.directories.values_mut().for_each(|directory| *directory = revision);
        state.sessions.clear();
    }

    pub(crate) fn revision(&self) -> u64 {
        self.state.lock().unwrap().revision
    }

    pub(crate) fn session_count(&self) -> usize {
        self.state.lock().unwrap().sessions.len()
    }

    fn apply(&self, batch: Batch) -> Result<Committed, LedgerError> {
        let rival = self.before_commit.lock().unwrap().take();
        if let Some(mut rival) = rival {
            rival();
            let mut slot = self.before_commit.lock().unwrap();
            slot.get_or_insert(rival);
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        let now_ms = self.now_ms.load(Ordering::Relaxed);
        self.state.lock().unwrap().apply(batch, now_ms)
    }
}

impl State {
    fn apply(&mut self, batch: Batch, now_ms: u64) -> Result<Committed, LedgerError> {
        self.revision += 1;
        self.stamped_ms = self.stamped_ms.max(now_ms);
        if let Some(id) = &batch.request_id {
            let Some(session) = self.sessions.get(&id.session) else {
                return Ok(Committed::SessionUnknown);
            };
            if let Some((fingerprint, reply, revision)) = session.requests.get(&id.sequence) {
                return Ok(if *fingerprint == id.fingerprint {
                    Committed::Replayed { revision: *revision, reply: reply.clone() }
                } else {
                    Committed::RequestConflict
                });
            }
        }
        if !batch.conditions.iter().all(|condition| self.holds(condition)) {
            return Ok(Committed::ConditionFailed);
        }
        if let Some(change) = batch.session
            && !self.change_session(change)
        {
            return Ok(Committed::SessionLimit);
        }
        for write in batch.writes {
            self.write(write.key, write.value);
        }
        if let Some(id) = batch.request_id {
            let session = self.sessions.get_mut(&id.session).unwrap();
            session.requests.insert(id.sequence, (id.fingerprint, id.reply, self.revision));
        }
        Ok(Committed::Applied { revision: self.revision })
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

    fn change_session(&mut self, change: SessionChange) -> bool {
        match change {
            SessionChange::Open { session, owner, .. } => {
                if self.sessions.values().filter(|s| s.owner == owner).count() == SESSIONS_MAX {
                    return false;
                }
                self.sessions.insert(session, Session { owner, requests: BTreeMap::new() });
            }
            SessionChange::Close { session } => {
                self.sessions.remove(&session);
            }
        }
        true
    }

    fn write(&mut self, key: Key, value: Option<Bytes>) {
        let before: Vec<_> = prefixes(&key).map(|d| (d.clone(), self.children(&d))).collect();
        let revision = self.revision;
        match value {
            Some(value) => self.rows.insert(key, Row { value, revision }),
            None => self.rows.remove(&key),
        };
        for (directory, children) in before {
            let now = self.children(&directory);
            if now.is_empty() {
                self.directories.remove(&directory);
            } else if now != children {
                self.directories.insert(directory, revision);
            }
        }
    }

    fn children(&self, directory: &[Bytes]) -> BTreeSet<Child> {
        let below = |key: &&Key| !key.flat && key.segments.starts_with(directory);
        self.rows
            .keys()
            .filter(below)
            .filter(|key| key.segments.len() > directory.len())
            .map(|key| Child {
                name: key.segments[directory.len()].clone(),
                directory: key.segments.len() > directory.len() + 1,
            })
            .collect()
    }
}

fn prefixes(key: &Key) -> impl Iterator<Item = Vec<Bytes>> {
    let lengths = if key.flat { 0..0 } else { 0..key.segments.len() };
    let segments = key.segments.clone();
    lengths.map(move |length| segments[..length].to_vec())
}

impl Ledger for MemoryLedger {
    fn view(&self) -> Arc<dyn LedgerView> {
        Arc::new(self.state.lock().unwrap().clone())
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<ReadPoint, LedgerError>> {
        self.barriers.fetch_add(1, Ordering::Relaxed);
        let mut faults = self.faults.lock().unwrap();
        if std::mem::take(&mut faults.hang_barrier) {
            return Box::pin(pending());
        }
        if let Some(error) = faults.barrier.take() {
            return Box::pin(ready(Err(error)));
        }
        let leader_ms = self.now_ms.load(Ordering::Relaxed);
        Box::pin(ready(Ok(ReadPoint { revision: self.revision(), leader_ms })))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, LedgerError>> {
        let (error, lose_reply, hang) = {
            let mut faults = self.faults.lock().unwrap();
            let lose_reply = std::mem::take(&mut faults.lose_reply);
            (faults.commit.take(), lose_reply, std::mem::take(&mut faults.hang_commit))
        };
        if hang {
            return Box::pin(pending());
        }
        if let Some(error) = error {
            return Box::pin(ready(Err(error)));
        }
        let committed = self.apply(batch);
        let heard = if lose_reply { Err(LedgerError::OutcomeUnknown) } else { committed };
        Box::pin(ready(heard))
    }
}

impl LedgerView for State {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn stamped_ms(&self) -> u64 {
        self.stamped_ms
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

    fn children(
        &self,
        directory: &[Bytes],
        after: Option<&Child>,
        limit: usize,
    ) -> Result<Vec<Child>, LedgerError> {
        let children = Self::children(self, directory).into_iter();
        Ok(children.filter(|child| after.is_none_or(|after| child > after)).take(limit).collect())
    }
}

/// Time that passes only when a test says so, randomness from a counter.
#[derive(Default)]
pub(crate) struct World {
    counter: AtomicU64,
    pub(crate) out_of_time: AtomicBool,
}

impl Clock for World {
    fn wall_ms(&self) -> u64 {
        START_MS
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        if self.out_of_time.load(Ordering::Relaxed) {
            Box::pin(ready(()))
        } else {
            Box::pin(pending())
        }
    }
}

impl Rng for World {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let counter = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let digest = ring::digest::digest(&ring::digest::SHA256, &counter);
            chunk.copy_from_slice(&digest.as_ref()[..chunk.len()]);
        }
    }
}

impl Spawn for World {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {}
}

/// A node that notes what it was asked for.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) hang: AtomicBool,
}

impl Node {
    fn note(&self, what: String) -> BoxFuture<'_, Result<(), Error>> {
        self.asked.lock().unwrap().push(what);
        if self.hang.load(Ordering::Relaxed) {
            Box::pin(pending())
        } else {
            Box::pin(ready(Ok(())))
        }
    }
}

impl Operator for Node {
    fn seal(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.note("seal".into())
    }

    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.note("step-down".into())
    }

    fn members(&self) -> BoxFuture<'_, Result<MemberList, Error>> {
        let member = |node_id: u64| Member {
            node_id,
            name: format!("node-{node_id}"),
            cluster_addr: format!("127.0.0.{node_id}:8201"),
            api_addr: format!("https://127.0.0.{node_id}:8200"),
            leader: node_id == 1,
            voter: true,
            health: None,
        };
        Box::pin(ready(Ok(MemberList { members: vec![member(1), member(2)], index: 9, epoch: 1 })))
    }

    fn remove_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        self.note(format!("remove {server_id}"))
    }

    fn promote_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        self.note(format!("promote {server_id}"))
    }

    fn demote_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        self.note(format!("demote {server_id}"))
    }

    fn metrics(&self) -> String {
        "raft_term 1\n".into()
    }
}

/// A core on a ledger of its own, with a root token.
pub(crate) struct Bench {
    pub(crate) core: Arc<Core>,
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) world: Arc<World>,
    pub(crate) node: Arc<Node>,
    pub(crate) ports: Ports,
    pub(crate) root_token: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let ledger = Arc::new(MemoryLedger::new());
        let world = Arc::new(World::default());
        let ports = Ports { clock: world.clone(), rng: world.clone(), spawn: world.clone() };
        let new = new_barrier(&ledger, &ports);
        let secrets = vec![("ca".to_owned(), zeroize::Zeroizing::new(b"ca key".to_vec()))];
        let made = finish(Core::initialise(new, &ports, secrets));
        let (barrier, text) = made.unwrap_or_else(|error| panic!("{error}"));
        let root_token = text.to_string();
        // So that no test's first write needs an entry for the count of messages as well.
        finish(barrier.maintain()).unwrap();
        let node = Arc::new(Node::default());
        let core = open_core(&barrier, &node, &ports, Arc::new(conclave_engines::Kv::new()));
        Self { core, barrier, ledger, world, node, ports, root_token }
    }

    /// A second core on the same ledger: what another node would be, with turns of its own.
    pub(crate) fn rival(&self) -> Arc<Core> {
        self.core_with(Arc::new(conclave_engines::Kv::new()))
    }

    /// A core on the same ledger with this engine in place of KV.
    pub(crate) fn core_with(&self, engine: Arc<dyn conclave_mount::Engine>) -> Arc<Core> {
        open_core(&self.barrier, &self.node, &self.ports, engine)
    }

    pub(crate) fn request(&self, operation: Operation, path: &str, body: &[u8]) -> Request {
        Request {
            id: "test".into(),
            operation,
            path: path.into(),
            namespace: String::new(),
            token: Some(Token::new(self.root_token.clone())),
            body: Bytes::copy_from_slice(body),
            query: BTreeMap::new(),
            client: None,
            idempotency: None,
            read_level: ReadLevel::Linearizable,
            time_limit: Duration::from_secs(90),
        }
    }

    pub(crate) fn send(&self, request: &Request) -> Result<Response, Error> {
        finish(self.core.handle(request))
    }

    pub(crate) fn call(
        &self,
        operation: Operation,
        path: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        let response = self.send(&self.request(operation, path, body.to_string().as_bytes()))?;
        Ok(response.data.map_or(Value::Null, |data| serde_json::from_slice(&data).unwrap()))
    }

    pub(crate) fn write(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.call(Operation::Write, path, body)
    }

    pub(crate) fn read(&self, path: &str) -> Result<Value, Error> {
        let response = self.send(&self.request(Operation::Read, path, b""))?;
        Ok(serde_json::from_slice(&response.data.unwrap()).unwrap())
    }

    /// A request that carries an id.
    pub(crate) fn tagged(
        &self,
        operation: Operation,
        path: &str,
        body: &Value,
        session: &Bytes,
        sequence: u64,
    ) -> Request {
        let mut request = self.request(operation, path, body.to_string().as_bytes());
        let session = session.clone();
        request.idempotency = Some(Idempotency { session, sequence, low_water: 0 });
        request
    }

    pub(crate) fn open_session(&self) -> Bytes {
        let opened = self.write("sys/sessions/open", &serde_json::json!({})).unwrap();
        hex::decode(opened["session"].as_str().unwrap()).unwrap().into()
    }
}

/// The keys of a cluster that is not made yet.
pub(crate) fn new_barrier(ledger: &Arc<MemoryLedger>, ports: &Ports) -> NewBarrier {
    let key = SealKey::new(SecretKey::fill_with(|key| *key = [7; 32]));
    let recipient = NewRecipient { kind: "static".into(), shares: 1, threshold: 1, key };
    NewBarrier::make(ledger.clone(), ports.clone(), [1; 16], "test", vec![recipient])
        .unwrap_or_else(|error| panic!("{error}"))
}

fn open_core(
    barrier: &Arc<Barrier>,
    node: &Arc<Node>,
    ports: &Ports,
    engine: Arc<dyn conclave_mount::Engine>,
) -> Arc<Core> {
    let core = Core::open(CoreParts {
        barrier: barrier.clone(),
        engines: EngineRegistry::new(vec![engine]),
        operator: node.clone(),
        ports: ports.clone(),
    });
    Arc::new(core.unwrap_or_else(|error| panic!("{error}")))
}

/// Runs what needs no waiting here.
pub(crate) fn finish<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("nothing in these tests waits for ever")
}

pub(crate) fn code<T>(answer: Result<T, Error>) -> ErrorCode {
    match answer {
        Ok(_) => panic!("this must be refused"),
        Err(error) => error.code,
    }
}

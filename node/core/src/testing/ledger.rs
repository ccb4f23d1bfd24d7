//! The replicated map without the replication.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use conclave_barrier::ledger::{
    Batch, Child, Committed, Condition, Key, Ledger, LedgerError, LedgerView, ReadPoint, Row,
    SessionChange,
};
use futures::future::{BoxFuture, pending, ready};

use super::START_MS;

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
    ttl_ms: u64,
    expiry_ms: u64,
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
    /// Whether writes may begin without a barrier.
    pub(crate) leads: AtomicBool,
    /// What this node still sees, until its next barrier.
    behind: Mutex<Option<State>>,
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
            leads: AtomicBool::new(false),
            behind: Mutex::default(),
        }
    }

    /// Runs what another node does, which this one does not see before its next barrier.
    pub(crate) fn unseen<T>(&self, elsewhere: impl FnOnce() -> T) -> T {
        let before = self.state.lock().unwrap().clone();
        let done = elsewhere();
        *self.behind.lock().unwrap() = Some(before);
        done
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

    pub(crate) fn row_count(&self) -> usize {
        self.state.lock().unwrap().rows.len()
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
        let stamped_ms = self.stamped_ms;
        self.sessions.retain(|_, session| session.expiry_ms > stamped_ms);
        if let Some(id) = &batch.request_id {
            let Some(session) = self.sessions.get_mut(&id.session) else {
                return Ok(Committed::SessionUnknown);
            };
            session.expiry_ms = stamped_ms + session.ttl_ms;
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
            SessionChange::Open { session, owner, ttl_ms } => {
                let expiry_ms = self.stamped_ms + ttl_ms;
                if let Some(open) = self.sessions.get_mut(&session) {
                    open.expiry_ms = expiry_ms;
                    return true;
                }
                if self.sessions.values().filter(|s| s.owner == owner).count() == SESSIONS_MAX {
                    return false;
                }
                let requests = BTreeMap::new();
                self.sessions.insert(session, Session { owner, ttl_ms, expiry_ms, requests });
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
        let behind = self.behind.lock().unwrap().clone();
        Arc::new(behind.unwrap_or_else(|| self.state.lock().unwrap().clone()))
    }

    fn write_point(&self) -> Option<ReadPoint> {
        let leader_ms = self.now_ms.load(Ordering::Relaxed);
        let leads = self.leads.load(Ordering::Relaxed);
        leads.then(|| ReadPoint { revision: self.revision(), leader_ms })
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
        *self.behind.lock().unwrap() = None;
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

    fn flat_names(
        &self,
        directory: &[Bytes],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Bytes>, LedgerError> {
        let names = self.rows.keys().filter(|key| key.flat && key.segments.len() > directory.len());
        let names = names.filter(|key| key.segments.starts_with(directory));
        let names = names.map(|key| key.segments[directory.len()].clone());
        Ok(names.filter(|name| after.is_none_or(|after| name > after)).take(limit).collect())
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

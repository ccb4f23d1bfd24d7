//! Clients: writes, check-and-set writes, reads, lists and deletes on any node, and what each was
//! told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conclave_core::{ErrorCode, Idempotency, Operation, RequestNumber};
use conclave_ports::Clock;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::invariants::{Began, EVERYTHING_OPENS, History, KeyState, Violation};
use crate::node::SEALED;
use crate::request::{Answer, Ask, Refusal, Reply, TIME_LIMIT};
use crate::world::Dice;

pub(crate) const CLIENTS: u64 = 6;
const KEYS: u64 = 6;
const DIRECTORY: &str = "app";
/// Written when all is healed.
const LAST_KEY: &str = "app/last";
const LAST_TRIES_MAX: u32 = 100;
/// What a client waits for: the node's own limit, and both ways.
const PATIENCE: Duration = Duration::from_millis(4_500);
/// Tries under one request id.
const TRIES_MAX: u32 = 4;

/// One client.
pub(crate) struct Client {
    cluster: Arc<Cluster>,
    dice: Dice,
    /// Numbers its writes, unlike any other client's.
    next_write: u64,
    session: Option<Session>,
}

struct Session {
    id: Bytes,
    next: u64,
}

/// What became of a request.
enum Told {
    Yes(Reply),
    /// Nothing was done.
    No(Refusal),
    Unknown,
}

impl Client {
    pub(crate) fn new(cluster: Arc<Cluster>, seed: u64, number: u64) -> Self {
        let dice = Dice::new(seed, 1_000 + number);
        Self { cluster, dice, next_write: (number + 1) * 1_000_000, session: None }
    }

    /// Asks until `end`.
    pub(crate) async fn run(mut self, end: Duration) {
        while self.cluster.goes_on() && self.cluster.world.clock.elapsed() < end {
            let pause = self.dice.duration(0, 80_000);
            self.cluster.world.clock.sleep(pause).await;
            let key = format!("{DIRECTORY}/key-{}", self.dice.below(KEYS));
            match self.dice.below(100) {
                0..25 => drop(self.put(&key, false).await),
                25..45 => drop(self.put(&key, true).await),
                45..85 => drop(self.get(&key).await),
                85..92 => drop(self.list().await),
                _ => self.delete(&key).await,
            }
            self.cluster.observe();
        }
    }

    /// Writes once, on any node, until it is acknowledged.
    pub(crate) async fn put_at_last(&mut self) -> Option<()> {
        for _ in 0..LAST_TRIES_MAX {
            if self.put(LAST_KEY, false).await.is_some() {
                return Some(());
            }
            self.cluster.world.clock.sleep(Duration::from_millis(100)).await;
        }
        None
    }

    /// Reads everything that was ever acknowledged, on one node.
    pub(crate) async fn read_all(&mut self, node: u64) {
        let keys: Vec<_> = (0..KEYS).map(|key| format!("{DIRECTORY}/key-{key}")).collect();
        for key in keys.iter().map(String::as_str).chain([LAST_KEY]) {
            if self.get_on(node, key).await.is_none() {
                self.unanswered(node, key);
            }
        }
        if self.list_on(node).await.is_none() {
            self.unanswered(node, DIRECTORY);
        }
        let kept: Vec<_> = {
            let history = self.history();
            let of_now = |(key, version, maker): (&str, u64, u64)| {
                let kept = version + VERSIONS_KEPT > history.state(key).version;
                kept.then(|| (key.to_owned(), version, maker))
            };
            history.acknowledged().filter_map(of_now).collect()
        };
        for (key, version, maker) in kept {
            self.read_version(node, &key, version, maker).await;
        }
    }

    async fn read_version(&mut self, node: u64, key: &str, version: u64, maker: u64) {
        let mut ask = self.about(Operation::Read, key, Bytes::new());
        ask.version = Some(version);
        let lost = match self.ask(node, &ask).await {
            Some(Ok(reply)) => value_of(&reply.data).is_none_or(|seen| seen.1 != Some(maker)),
            // Deleted versions have no data, but they are there.
            Some(Err(refusal)) => refusal.data.is_none(),
            None => return self.unanswered(node, key),
        };
        if lost {
            let text = format!("{key}: version {version} of write {maker} is not on node {node}");
            self.violated("no acknowledged write lost", text);
        }
    }

    async fn get(&mut self, key: &str) -> Option<()> {
        let node = self.any_node();
        self.get_on(node, key).await
    }

    async fn get_on(&mut self, node: u64, key: &str) -> Option<()> {
        let ask = self.about(Operation::Read, key, Bytes::new());
        let began = self.history().begin(key);
        let (seen, revision) = match self.ask(node, &ask).await? {
            Ok(reply) => (value_of(&reply.data), Some(reply.revision)),
            Err(refusal) if refusal.code == ErrorCode::NotFound => match &refusal.data {
                Some(_) => (value_of(&refusal.data), None),
                None => (Some((KeyState::default(), None)), None),
            },
            Err(refusal) => {
                self.expect(&refusal, "a read");
                return None;
            }
        };
        let Some((state, maker)) = seen else {
            self.violated(EVERYTHING_OPENS, format!("{key}: node {node} answered something else"));
            return None;
        };
        self.event(format_args!("read {key} on {node}: {state:?} of {maker:?} at {revision:?}"));
        self.cluster.world.count(|coverage| coverage.reads += 1);
        let mut history = self.history();
        let checked = revision.map_or(Ok(()), |revision| history.answered(&began, revision));
        let checked = checked.and_then(|()| history.read(&began, state, maker));
        drop(history);
        self.cluster.world.check(checked);
        Some(())
    }

    async fn list(&mut self) -> Option<()> {
        let node = self.any_node();
        self.list_on(node).await
    }

    async fn list_on(&mut self, node: u64) -> Option<()> {
        let mut ask = self.about(Operation::List, "", Bytes::new());
        ask.path = format!("secret/metadata/{DIRECTORY}/");
        let began = self.history().begin(DIRECTORY);
        let (names, revision) = match self.ask(node, &ask).await? {
            Ok(reply) => (names_of(&reply.data), Some(reply.revision)),
            Err(refusal) if refusal.code == ErrorCode::NotFound => (BTreeSet::new(), None),
            Err(refusal) => {
                self.expect(&refusal, "a list");
                return None;
            }
        };
        self.event(format_args!("list on {node}: {} names at {revision:?}", names.len()));
        self.cluster.world.count(|coverage| coverage.reads += 1);
        let mut history = self.history();
        let checked = revision.map_or(Ok(()), |revision| history.answered(&began, revision));
        let checked = checked.and_then(|()| history.listed(&began, &names));
        drop(history);
        self.cluster.world.check(checked);
        Some(())
    }

    /// Nothing where it was not acknowledged.
    async fn put(&mut self, key: &str, check: bool) -> Option<()> {
        let write = self.next_write;
        self.next_write += 1;
        let began = self.history().begin(key);
        let expected = check.then(|| began.version());
        let options =
            expected.map_or(String::new(), |cas| format!(",\"options\":{{\"cas\":{cas}}}"));
        let body = format!("{{\"data\":{{\"write\":{write}}}{options}}}");
        let ask = self.about(Operation::Write, key, body.into());
        let (told, tries) = self.write(ask).await;
        match told {
            Told::Yes(reply) => {
                self.acknowledged(&began, write, expected, &reply, tries);
                return Some(());
            }
            Told::No(refusal) => {
                self.event(format_args!("write {write} to {key}: {:?}", refusal.code));
                if refusal.code == ErrorCode::CasMismatch && check {
                    self.cluster.world.count(|coverage| coverage.mismatches += 1);
                } else {
                    self.expect(&refusal, "a write");
                }
                let checked = self.history().refused(write);
                self.cluster.world.check(checked);
            }
            Told::Unknown => {
                self.event(format_args!("write {write} to {key}: unknown"));
                self.cluster.world.count(|coverage| coverage.unknown += 1);
            }
        }
        None
    }

    fn acknowledged(
        &mut self,
        began: &Began,
        write: u64,
        expected: Option<u64>,
        reply: &Reply,
        tries: u32,
    ) {
        let version = json(&reply.data).and_then(|data| data["version"].as_u64());
        let Some(version) = version else {
            return self
                .violated(EVERYTHING_OPENS, format!("write {write} was answered without version"));
        };
        self.event(format_args!("write {write} made version {version} at {}", reply.revision));
        self.cluster.world.count(|coverage| coverage.writes += 1);
        let mut history = self.history();
        // What is replayed carries the revision of its first run.
        let checked = if tries == 1 { history.answered(began, reply.revision) } else { Ok(()) };
        let checked = checked.and_then(|()| history.wrote(began, write, version, expected));
        drop(history);
        self.cluster.world.check(checked);
    }

    async fn delete(&mut self, key: &str) {
        let began = self.history().begin_delete(key);
        let ask = self.about(Operation::Delete, key, Bytes::new());
        let (told, tries) = self.write(ask).await;
        match told {
            Told::Yes(reply) => {
                self.event(format_args!("deleted {key} at {}", reply.revision));
                self.cluster.world.count(|coverage| coverage.writes += 1);
                let mut history = self.history();
                history.deleted(&began);
                let checked =
                    if tries == 1 { history.answered(&began, reply.revision) } else { Ok(()) };
                drop(history);
                self.cluster.world.check(checked);
            }
            Told::No(refusal) => self.expect(&refusal, "a delete"),
            Told::Unknown => self.cluster.world.count(|coverage| coverage.unknown += 1),
        }
    }

    /// A write, half of them under a request id and then tried again where nobody knows what
    /// became of it.
    async fn write(&mut self, mut ask: Ask) -> (Told, u32) {
        let with_id = self.dice.chance(500) && self.open_session().await.is_some();
        if with_id && let Some(session) = &mut self.session {
            session.next += 1;
            let (sequence, id) = (session.next, session.id.clone());
            let number = RequestNumber { session: id, sequence, low_water: sequence };
            ask.idempotency = Some(Idempotency::Numbered(number));
        }
        let mut unknown = false;
        for tries in 1..=TRIES_MAX {
            let node = self.any_node();
            let answer = self.ask(node, &ask).await;
            if let Some(Err(refusal)) = &answer
                && refusal.code == ErrorCode::SessionUnknown
            {
                self.session = None;
            }
            match told(answer) {
                Told::Unknown if !with_id => return (Told::Unknown, tries),
                Told::Unknown => unknown = true,
                // A session that ended says nothing about an earlier try.
                Told::No(refusal) if unknown && may_pass(&refusal) => {}
                answered => return (answered, tries),
            }
            if tries < TRIES_MAX {
                self.cluster.world.count(|coverage| coverage.retries += 1);
                let pause = self.dice.duration(50_000, 500_000);
                self.cluster.world.clock.sleep(pause).await;
            }
        }
        // Its number is taken for good: the next write needs a session without a gap.
        self.session = None;
        (Told::Unknown, TRIES_MAX)
    }

    async fn open_session(&mut self) -> Option<()> {
        if self.session.is_some() && !self.dice.chance(50) {
            return Some(());
        }
        let mut ask = self.about(Operation::Write, "", Bytes::from_static(b"{}"));
        ask.path = "sys/sessions/open".to_owned();
        let node = self.any_node();
        let Told::Yes(reply) = told(self.ask(node, &ask).await) else { return None };
        let session = json(&reply.data)?["session"].as_str().map(hex::decode)?.ok()?;
        self.session = Some(Session { id: session.into(), next: 0 });
        Some(())
    }

    async fn ask(&self, node: u64, ask: &Ask) -> Option<Answer> {
        let network = self.cluster.network.clone();
        let asking = network.ask(node, ask.clone());
        let answer = self.cluster.within(PATIENCE.max(TIME_LIMIT), asking).await?;
        if let Some(Err(refusal)) = &answer {
            self.expect(refusal, "a request");
        }
        answer
    }

    /// Some errors have no excuse, whatever fails.
    fn expect(&self, refusal: &Refusal, what: &str) {
        use ErrorCode::{
            Conflict, Internal, InvalidRequest, PermissionDenied, Quarantined, Sealed, TooLarge,
            UnsupportedOperation,
        };
        let inexcusable = match refusal.code {
            Internal | InvalidRequest | PermissionDenied | Conflict | TooLarge | Quarantined
            | UnsupportedOperation => true,
            Sealed => refusal.message != SEALED,
            _ => false,
        };
        if inexcusable {
            let text = format!("{what}: {:?}: {}", refusal.code, refusal.message);
            self.violated(EVERYTHING_OPENS, text);
        }
    }

    fn about(&self, operation: Operation, key: &str, body: Bytes) -> Ask {
        Ask {
            operation,
            path: format!("secret/data/{key}"),
            body,
            version: None,
            token: self.cluster.token(),
            idempotency: None,
        }
    }

    fn any_node(&mut self) -> u64 {
        self.dice.pick(&self.cluster.members()).number
    }

    fn unanswered(&self, node: u64, key: &str) {
        let text = format!("node {node} does not answer about {key} although all is healed");
        self.violated("all heals in bounded time", text);
    }

    fn violated(&self, invariant: &'static str, text: String) {
        self.cluster.world.report(Violation::new(invariant, text));
    }

    fn event(&self, text: impl std::fmt::Display) {
        self.cluster.world.event(text);
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.cluster.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer says about a write.
fn told(answer: Option<Answer>) -> Told {
    match answer {
        None => Told::Unknown,
        Some(Ok(reply)) => Told::Yes(reply),
        Some(Err(refusal)) if is_unknown(&refusal) => Told::Unknown,
        Some(Err(refusal)) => Told::No(refusal),
    }
}

fn is_unknown(refusal: &Refusal) -> bool {
    matches!(refusal.code, ErrorCode::OutcomeUnknown | ErrorCode::Internal)
}

/// Whether the same request may still get another answer.
fn may_pass(refusal: &Refusal) -> bool {
    !matches!(refusal.code, ErrorCode::CasMismatch | ErrorCode::NotFound)
}

fn json(data: &Option<Bytes>) -> Option<Value> {
    serde_json::from_slice(data.as_ref()?).ok()
}

/// The state and the maker of a secret, from the answer to a read.
fn value_of(data: &Option<Bytes>) -> Option<(KeyState, Option<u64>)> {
    let json = json(data)?;
    let version = json["metadata"]["version"].as_u64()?;
    let deleted = !json["metadata"]["deletion_time"].as_str()?.is_empty();
    let maker = json["data"]["write"].as_u64();
    (deleted != maker.is_some()).then_some((KeyState { version, deleted }, maker))
}

fn names_of(data: &Option<Bytes>) -> BTreeSet<String> {
    let keys = json(data).and_then(|json| json["keys"].as_array().cloned()).unwrap_or_default();
    keys.iter().filter_map(Value::as_str).map(|name| format!("{DIRECTORY}/{name}")).collect()
}

/// Versions that a key keeps where nobody says otherwise.
const VERSIONS_KEPT: u64 = 10;

/// Shared by all clients of a run.
pub(crate) type SharedHistory = Mutex<History>;

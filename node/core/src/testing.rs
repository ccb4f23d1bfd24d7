//! A ledger in memory and a core on it, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use conclave_barrier::{Barrier, NewBarrier, NewRecipient, SealKey};
use conclave_memory::SecretKey;
use conclave_ports::{Clock, Ports, Rng, Spawn};
use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::key_ceremonies::{
    KeyCeremonies, RekeyPlan, RekeyProgress, RekeyStep, RootProgress, RootStep, ShareSet,
};
use crate::{
    Core, CoreParts, EngineRegistry, Error, ErrorCode, Idempotency, Member, MemberList,
    NoAuditPlaces, Operation, Operator, ReadLevel, Request, RequestNumber, Response, Token,
};

mod ledger;

pub(crate) use ledger::{MemoryLedger, SESSIONS_MAX};

pub(crate) const START_MS: u64 = 1_521_685_466_945;

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
    /// Whether anybody may begin key ceremonies.
    pub(crate) open: AtomicBool,
    root: Mutex<Option<(Zeroizing<String>, u8)>>,
    rekey: Mutex<Option<RekeyPlan>>,
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

/// What holders of shares would say: the share `[n; 33]` is right, three are needed.
impl KeyCeremonies for Node {
    fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    fn root_step(&self, step: RootStep) -> Result<RootProgress, Error> {
        let mut root = self.root.lock().unwrap();
        match step {
            RootStep::Look => {}
            RootStep::Start { otp } => *root = Some((otp, 0)),
            RootStep::Cancel { .. } => *root = None,
            RootStep::End { nonce } => {
                assert_eq!(nonce, NONCE);
                *root = None;
            }
            RootStep::Give { nonce, share } => {
                let Some((otp, given)) = root.as_mut().filter(|_| nonce == NONCE) else {
                    return Err(Error::invalid("incorrect nonce supplied"));
                };
                if share.len() != 33 {
                    return Err(Error::invalid("this is not a share"));
                }
                *given += 1;
                let granted = (*given == 3).then(|| otp.clone());
                *given %= 3;
                let (nonce, given) = (NONCE.into(), *given);
                return Ok(RootProgress { nonce, given, required: 3, granted });
            }
        }
        let (nonce, given) = root.as_ref().map_or(("", 0), |(_, given)| (NONCE, *given));
        Ok(RootProgress { nonce: nonce.into(), given, required: 3, granted: None })
    }

    fn rekey_step(
        &self,
        set: ShareSet,
        step: RekeyStep,
    ) -> BoxFuture<'_, Result<RekeyProgress, Error>> {
        let mut plan = self.rekey.lock().unwrap();
        let begun = RekeyProgress { nonce: NONCE.into(), required: 3, ..RekeyProgress::default() };
        let progress = match step {
            RekeyStep::Look if plan.is_none() => {
                RekeyProgress { required: 3, ..RekeyProgress::default() }
            }
            RekeyStep::Look => RekeyProgress { plan: plan.unwrap(), ..begun },
            RekeyStep::Start(_) if set == ShareSet::Recovery => {
                return Box::pin(ready(Err(Error::invalid("no recovery shares"))));
            }
            RekeyStep::Start(new) => RekeyProgress { plan: *plan.insert(new), ..begun },
            RekeyStep::Cancel { .. } => {
                *plan = None;
                RekeyProgress::default()
            }
            RekeyStep::Give { .. } => {
                let new_shares =
                    vec![Zeroizing::new(vec![0xab; 33]), Zeroizing::new(vec![0xcd; 33])];
                let plan = plan.take().unwrap();
                let verification_nonce = if plan.verify { "second".into() } else { String::new() };
                let replaced = !plan.verify;
                RekeyProgress { plan, new_shares, verification_nonce, replaced, ..begun }
            }
            RekeyStep::RestartVerification => {
                RekeyProgress { verification_nonce: "third".into(), ..begun }
            }
            RekeyStep::Verify { nonce, .. } => RekeyProgress {
                replaced: nonce == "third",
                verified: 1,
                verification_nonce: nonce,
                ..begun
            },
        };
        Box::pin(ready(Ok(progress)))
    }
}

pub(crate) const NONCE: &str = "0b1c2d3e-nonce";

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
        let bench = Self { core, barrier, ledger, world, node, ports, root_token };
        let kv = serde_json::json!({ "type": "kv", "options": { "version": "2" } });
        bench.call(Operation::Write, "sys/mounts/secret", &kv).unwrap();
        bench
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
            headers: BTreeMap::new(),
            forwarded_from: String::new(),
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
        let number = RequestNumber { session, sequence, low_water: 0 };
        request.idempotency = Some(Idempotency::Numbered(number));
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
        engines: EngineRegistry::new(vec![engine, Arc::new(conclave_engines::Cubbyhole::new())]),
        operator: node.clone(),
        audit_places: Arc::new(NoAuditPlaces),
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

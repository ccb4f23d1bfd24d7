//! The process of a node that takes part: consensus, barrier and core over its files, put together
//! as the server does, with tasks in place of its threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use conclave_auth::Userpass;
use conclave_barrier::ledger::Ledger;
use conclave_barrier::{Barrier, BarrierError, RootKey};
use conclave_core::{Access, Core, CoreParts, EngineRegistry, ErrorCode};
use conclave_engines::{Cubbyhole, Kv};
use conclave_memory::SecretKey;
use conclave_mount::testing::Inline;
use conclave_ports::{Ports, Spawn};
use conclave_raft::{Raft, Readiness};
use conclave_server::ledger::RaftLedger;
use conclave_store::disk::Disk;
use conclave_store::identity::IdentityStore;
use conclave_store::log::{Log, LogWriter};
use conclave_store::seen::SeenStore;
use conclave_store::state::State;
use futures::FutureExt;

use super::opened::{Files, RunningParts};
use super::plants::{PlantedLedger, Requests, stamp_with};
use super::{Keys, lock};
use crate::Plant;
use crate::invariants::{EVERYTHING_OPENS, Violation};
use crate::operator::SimOperator;
use crate::request::{Answer, Ask, Refusal, TIME_LIMIT};
use crate::world::{Life, Mood, Network, Serve, World};

const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);
const SPACE_INTERVAL: Duration = Duration::from_millis(200);
const LEADER_POLL: Duration = Duration::from_millis(50);
/// Below this much free space a node takes no writes: more than it needs until it notices.
pub(crate) const RESERVE_BYTES: u64 = 512 << 10;

/// A process that takes part.
pub(crate) struct Running {
    pub(crate) node_id: u64,
    pub(crate) raft: Raft,
    pub(crate) state: State,
    pub(crate) log: Log,
    pub(crate) seen: SeenStore,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) ports: Ports,
    world: Arc<World>,
    network: Network,
    keys: Arc<OnceLock<Keys>>,
    plant: Option<Plant>,
    mood: Arc<Mood>,
    life: Life,
    identities: IdentityStore,
    disk: Arc<dyn Disk>,
    writer: Arc<Mutex<LogWriter>>,
    /// Its disk is at the reserve.
    full: AtomicBool,
    /// None while sealed.
    core: Mutex<Option<Arc<Core>>>,
}

impl Running {
    /// Puts together what consensus and the files are.
    pub(super) fn begin(raft: Raft, parts: RunningParts, files: Files) -> Arc<Self> {
        let ledger = RaftLedger::new(raft.clone(), files.state.clone());
        let ledger: Arc<dyn Ledger> = match parts.plant {
            Some(plant @ (Plant::StaleFollowerRead | Plant::UncheckedCondition)) => {
                Arc::new(PlantedLedger { ledger, raft: raft.clone(), plant })
            }
            _ => Arc::new(ledger),
        };
        let running = Arc::new(Self {
            node_id: files.node_id,
            raft,
            state: files.state,
            log: files.log,
            seen: files.seen,
            ledger,
            ports: parts.ports,
            world: parts.world,
            network: parts.network,
            keys: parts.keys,
            plant: parts.plant,
            mood: parts.mood,
            life: parts.life.clone(),
            identities: files.identities,
            disk: parts.disk,
            writer: files.writer,
            full: AtomicBool::new(false),
            core: Mutex::new(None),
        });
        parts.life.spawn("housekeeping", running.clone().keep_house().boxed());
        parts.life.spawn("space", running.clone().watch_space().boxed());
        running
    }

    /// Serves a request as the server's dispatch does: writes on the leader, reads here. Waits out
    /// an election; never repeats what may have been executed.
    pub(crate) async fn serve(self: Arc<Self>, ask: Ask, serve: Serve) -> Answer {
        let core = self.core().ok_or_else(sealed)?;
        let request = ask.to_request();
        if serve == Serve::Forwarded || core.access(&request) == Access::Read {
            return answer(core.handle(&request).await);
        }
        let clock = self.ports.clock.clone();
        let deadline = clock.monotonic() + TIME_LIMIT;
        loop {
            let status = self.raft.status();
            let attempt = match status.leader_id {
                _ if status.is_leader => answer(core.handle(&request).await),
                Some(leader) if leader != self.node_id => self.forward(leader, &ask).await,
                _ => Err(Refusal::new(ErrorCode::NoLeader, "no leader is known")),
            };
            match attempt {
                Err(refusal)
                    if refusal.code == ErrorCode::NoLeader && clock.monotonic() < deadline =>
                {
                    let _ = self.ports.within(LEADER_POLL, self.raft.changed()).await;
                }
                answered => return answered,
            }
        }
    }

    /// The core, where this node is unsealed.
    pub(crate) fn core(&self) -> Option<Arc<Core>> {
        lock(&self.core).clone()
    }

    /// Begins to serve with an open barrier.
    pub(crate) fn serve_with(&self, barrier: Arc<Barrier>) -> Result<(), conclave_core::Error> {
        let core = Core::open(CoreParts {
            barrier,
            engines: EngineRegistry::new(vec![
                Arc::new(Kv::new()),
                Arc::new(Cubbyhole::new()),
                Arc::new(Userpass::new(Arc::new(Inline))),
            ]),
            operator: Arc::new(SimOperator),
            audit_places: Arc::new(conclave_core::NoAuditPlaces),
            ports: self.ports.clone(),
        })?;
        *lock(&self.core) = Some(Arc::new(core));
        self.tell_readiness();
        self.world.event(format_args!("node {} is unsealed", self.node_id));
        self.world.count(|coverage| coverage.unseals += 1);
        Ok(())
    }

    /// Seals this node and keeps it sealed across restarts.
    pub(crate) async fn seal_on_purpose(self: Arc<Self>) {
        if self.core().is_none() || self.identities.set_sealed_on_purpose(true).is_err() {
            return;
        }
        if self.raft.status().is_leader {
            // Where nobody takes over it stays as caretaker.
            let _ = self.raft.transfer_leadership().await;
        }
        *lock(&self.core) = None;
        self.tell_readiness();
        self.world.event(format_args!("node {} is sealed", self.node_id));
        self.world.count(|coverage| coverage.seals += 1);
    }

    /// Takes the mark away that keeps this node sealed.
    pub(crate) fn allow_unseal(&self) {
        if let Err(error) = self.identities.set_sealed_on_purpose(false)
            && !(self.is_excused() || self.mood.is_full())
        {
            let text = format!("node {}: {error}", self.node_id);
            self.world.report(Violation::new("a good disk takes writes", text));
        }
    }

    /// What a peer sends, as this node takes it.
    pub(crate) fn receiving(&self, requests: Requests) -> Requests {
        if self.plant == Some(Plant::ClockInApply) {
            stamp_with(self.ports.clock.clone(), requests)
        } else {
            requests
        }
    }

    async fn forward(&self, leader: u64, ask: &Ask) -> Answer {
        let forwarding = self.network.forward(self.node_id, leader, ask.clone());
        match self.ports.within(TIME_LIMIT, forwarding).await {
            Ok(Some(answer)) => answer,
            _ => Err(Refusal::new(ErrorCode::OutcomeUnknown, "the leader did not answer")),
        }
    }

    /// What the server does now and then: unseal by itself, follow the keyring, maintain it.
    async fn keep_house(self: Arc<Self>) {
        loop {
            self.notice_end();
            match self.core() {
                None if !self.identities.sealed_on_purpose() => self.try_unseal(),
                None => {}
                Some(core) => self.maintain(&core).await,
            }
            self.ports.clock.sleep(HOUSEKEEPING_INTERVAL).await;
        }
    }

    async fn maintain(&self, core: &Core) {
        if let Err(error) = core.barrier().follow(&*self.ledger.view()) {
            self.unexpected("the keyring", &error);
        }
        if self.raft.status().is_leader
            && let Err(error) = core.maintain().await
            && error.code == ErrorCode::Internal
        {
            self.unexpected("maintenance", &error);
        }
    }

    fn try_unseal(&self) {
        let Some(keys) = self.keys.get() else { return };
        let root_key = RootKey::new(SecretKey::fill_with(|key| *key = keys.root_key));
        let opened = Barrier::open(self.ledger.clone(), self.ports.clone(), root_key);
        match opened.map(|barrier| self.serve_with(Arc::new(barrier))) {
            Ok(Ok(())) | Err(BarrierError::NotInitialized) => {}
            Ok(Err(error)) if error.code == ErrorCode::NotInitialized => {}
            Ok(Err(error)) => self.unexpected("the core", &error),
            Err(error) => self.unexpected("the barrier", &error),
        }
    }

    /// Says what kind of leader this node may be.
    fn tell_readiness(&self) {
        let full = self.full.load(Ordering::Relaxed);
        self.raft.set_readiness(match self.core() {
            None => Readiness::Sealed,
            Some(_) if full => Readiness::Full,
            Some(_) => Readiness::Ready,
        });
    }

    /// What the server's watcher of disk space does.
    async fn watch_space(self: Arc<Self>) {
        loop {
            let full = self.disk.free_bytes().is_ok_and(|bytes| bytes < RESERVE_BYTES);
            if self.full.swap(full, Ordering::Relaxed) != full {
                self.world.event(format_args!("node {} is full: {full}", self.node_id));
                self.world.count(|coverage| coverage.full_disks += u64::from(full));
                self.tell_readiness();
            }
            self.ports.clock.sleep(SPACE_INTERVAL).await;
        }
    }

    /// Consensus or the log's writer ends by an error of the disk, and the process with it.
    fn notice_end(&self) {
        let status = self.raft.status();
        let failed = status.fatal.is_some() || lock(&self.writer).has_failed();
        if !failed {
            return;
        }
        if self.is_excused() {
            self.world.event(format_args!("node {} ends by itself", self.node_id));
            self.life.end();
        } else {
            let fatal = status.fatal.unwrap_or_else(|| "the log's writer failed".to_owned());
            self.unexpected("consensus", &fatal);
        }
    }

    /// Whether what fails was arranged, or the process has no power any more.
    pub(crate) fn is_excused(&self) -> bool {
        self.mood.is_failing() || self.life.has_ended()
    }

    fn unexpected(&self, what: &str, error: &dyn std::fmt::Display) {
        if self.is_excused() {
            return;
        }
        let text = format!("node {}: {what}: {error}", self.node_id);
        self.world.report(Violation::new(EVERYTHING_OPENS, text));
    }
}

fn answer(result: Result<conclave_core::Response, conclave_core::Error>) -> Answer {
    result.map(Into::into).map_err(Into::into)
}

fn sealed() -> Refusal {
    Refusal::new(ErrorCode::Sealed, SEALED)
}

/// Tells a sealed node's no from a core that found itself with a wrong key.
pub(crate) const SEALED: &str = "this node is sealed";

//! The process of a node: log, state, consensus, barrier and core, put together as the server
//! does, with tasks in place of its threads.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use conclave_barrier::ledger::{
    Batch, BoxFuture, Committed, Ledger, LedgerError, LedgerView, ReadPoint,
};
use conclave_barrier::{Barrier, BarrierError, RootKey};
use conclave_core::{Access, Core, CoreParts, EngineRegistry, ErrorCode};
use conclave_engines::Kv;
use conclave_memory::SecretKey;
use conclave_ports::{Ports, Spawn};
use conclave_raft::{Raft, RaftConfig, RaftParts, Readiness};
use conclave_server::ledger::RaftLedger;
use conclave_store::disk::{Disk, MemoryDisk};
use conclave_store::identity::IdentityStore;
use conclave_store::log::{Log, LogConfig, LogWriter};
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{MemoryEngine, State, StateConfig, StateEngine, StateError};
use futures::FutureExt;
use tokio::sync::Notify;

use super::{CLUSTER_ID, Keys};
use crate::Plant;
use crate::invariants::{EVERYTHING_OPENS, Violation};
use crate::operator::SimOperator;
use crate::request::{Answer, Ask, Refusal, TIME_LIMIT};
use crate::world::{Dice, Life, Network, NodeRuntime, Serve, World};

pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
const ELECTION_MIN: Duration = Duration::from_millis(400);
const ELECTION_MAX: Duration = Duration::from_millis(800);
/// Small, so that snapshots, purges and new segments are many.
const SNAPSHOT_ENTRIES: u64 = 50;
const KEEP_ENTRIES: u64 = 10;
const SEGMENT_BYTES: u64 = 32 << 10;
const LOG_CACHE_BYTES_MAX: usize = 64 << 10;
const OVERLAY_BYTES_MAX: usize = 1 << 20;
const UNDO_BYTES_MAX: usize = 1 << 20;
const WAITING_COMMANDS_MAX: usize = 256;
const FLUSH_INTERVAL: Duration = Duration::from_millis(15);
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);
const LEADER_POLL: Duration = Duration::from_millis(50);

/// Why a process did not start.
pub(crate) struct OpenError(pub(crate) String);

/// What a process is started on.
pub(crate) struct RunningParts {
    pub(crate) node_id: u64,
    pub(crate) world: Arc<World>,
    pub(crate) network: Network,
    pub(crate) keys: Arc<OnceLock<Keys>>,
    pub(crate) plant: Option<Plant>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) engine: Arc<MemoryEngine>,
    pub(crate) boot_id: [u8; 16],
    pub(crate) life: Life,
    pub(crate) ports: Ports,
    pub(crate) dice: Dice,
}

/// A running process.
pub(crate) struct Running {
    pub(crate) node_id: u64,
    pub(crate) raft: Raft,
    pub(crate) state: State,
    pub(crate) log: Log,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) ports: Ports,
    world: Arc<World>,
    network: Network,
    keys: Arc<OnceLock<Keys>>,
    identities: IdentityStore,
    writer: Arc<Mutex<LogWriter>>,
    /// None while sealed.
    core: Mutex<Option<Arc<Core>>>,
}

impl Running {
    /// Reads the disk and starts consensus.
    pub(crate) async fn open(parts: RunningParts) -> Result<Arc<Self>, OpenError> {
        let files = Files::open(&parts)?;
        spawn_writer(&parts, &files.writer);
        spawn_flush(&parts, files.state.clone());
        let raft_parts = RaftParts {
            log: files.log.clone(),
            state: files.state.clone(),
            snapshots: files.snapshots,
            seen: files.seen,
            boot_counter: 0,
            transport: parts.network.transport(parts.node_id, parts.life.clone()),
            ports: parts.ports.clone(),
        };
        let raft = conclave_raft::start::<NodeRuntime>(raft_config(files.node_id), raft_parts)
            .await
            .map_err(|error| refused("consensus", error))?;
        let ledger = RaftLedger::new(raft.clone(), files.state.clone());
        let ledger: Arc<dyn Ledger> = match parts.plant {
            Some(Plant::StaleFollowerRead) => Arc::new(StaleLedger { ledger, raft: raft.clone() }),
            Some(Plant::SkippedFsync) | None => Arc::new(ledger),
        };
        let running = Arc::new(Self {
            node_id: parts.node_id,
            raft,
            state: files.state,
            log: files.log,
            ledger,
            ports: parts.ports.clone(),
            world: parts.world,
            network: parts.network,
            keys: parts.keys,
            identities: files.identities,
            writer: files.writer,
            core: Mutex::new(None),
        });
        let housekeeping = running.clone().keep_house();
        parts.life.spawn("housekeeping", housekeeping.boxed());
        Ok(running)
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
            engines: EngineRegistry::new(vec![Arc::new(Kv::new())]),
            operator: Arc::new(SimOperator),
            ports: self.ports.clone(),
        })?;
        *lock(&self.core) = Some(Arc::new(core));
        self.raft.set_readiness(Readiness::Ready);
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
        self.raft.set_readiness(Readiness::Sealed);
        *lock(&self.core) = None;
        self.world.event(format_args!("node {} is sealed", self.node_id));
        self.world.count(|coverage| coverage.seals += 1);
    }

    /// Takes the mark away that keeps this node sealed.
    pub(crate) fn allow_unseal(&self) {
        if let Err(error) = self.identities.set_sealed_on_purpose(false) {
            let text = format!("node {}: {error}", self.node_id);
            self.world.report(Violation::new("a good disk takes writes", text));
        }
    }

    /// What a process did last before it ended: a batch is written, and its sync never returns.
    pub(crate) fn write_last_batch_unsynced(&self, disk: &MemoryDisk) {
        disk.fail_syncs(true);
        lock(&self.writer).drain();
        disk.fail_syncs(false);
    }

    async fn forward(&self, leader: u64, ask: &Ask) -> Answer {
        let forwarding = self.network.ask(self.node_id, leader, ask.clone(), Serve::Forwarded);
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

    fn notice_end(&self) {
        let status = self.raft.status();
        if let Some(fatal) = status.fatal {
            self.unexpected("consensus", &fatal);
        }
        if lock(&self.writer).has_failed() {
            self.unexpected("the log's writer", &"it failed");
        }
    }

    fn unexpected(&self, what: &str, error: &dyn std::fmt::Display) {
        let text = format!("node {}: {what}: {error}", self.node_id);
        self.world.report(Violation::new(EVERYTHING_OPENS, text));
    }
}

/// A panic while it is held is reported by the task that panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a process finds on its disk.
struct Files {
    node_id: u64,
    identities: IdentityStore,
    log: Log,
    writer: Arc<Mutex<LogWriter>>,
    snapshots: SnapshotStore,
    seen: SeenStore,
    state: State,
}

impl Files {
    fn open(parts: &RunningParts) -> Result<Self, OpenError> {
        let identities =
            IdentityStore::open(parts.disk.clone()).map_err(|e| refused("the identity", e))?;
        let identity = identities.load().ok_or_else(|| OpenError("no identity".to_owned()))?;
        identities.begin_boot().map_err(|e| refused("the boot counter", e))?;
        let config = LogConfig {
            segment_bytes: SEGMENT_BYTES,
            cache_bytes_max: LOG_CACHE_BYTES_MAX,
            boot_id: parts.boot_id,
        };
        let (log, writer) =
            Log::open(parts.disk.clone(), config).map_err(|e| refused("the log", e))?;
        let snapshots =
            SnapshotStore::open(parts.disk.clone()).map_err(|e| refused("the snapshots", e))?;
        let seen = SeenStore::open(parts.disk.clone()).map_err(|e| refused("what was seen", e))?;
        let state = open_state(parts).map_err(|e| refused("the state", e))?;
        let writer = Arc::new(Mutex::new(writer));
        Ok(Self { node_id: identity.node_id, identities, log, writer, snapshots, seen, state })
    }
}

fn refused(what: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError(format!("{what} does not open: {error}"))
}

fn answer(result: Result<conclave_core::Response, conclave_core::Error>) -> Answer {
    result.map(Into::into).map_err(Into::into)
}

fn sealed() -> Refusal {
    Refusal::new(ErrorCode::Sealed, SEALED)
}

/// Tells a sealed node's no from a core that found itself with a wrong key.
pub(crate) const SEALED: &str = "this node is sealed";

fn raft_config(node_id: u64) -> RaftConfig {
    RaftConfig {
        node_id,
        cluster_id: CLUSTER_ID.to_vec(),
        heartbeat: HEARTBEAT,
        election_timeout_min: ELECTION_MIN,
        election_timeout_max: ELECTION_MAX,
        snapshot_entries: SNAPSHOT_ENTRIES,
        keep_entries: KEEP_ENTRIES,
        waiting_commands_max: WAITING_COMMANDS_MAX,
    }
}

/// A state that is damaged begins empty: snapshot and log hold everything it held.
fn open_state(parts: &RunningParts) -> Result<State, StateError> {
    let open = || {
        let config = StateConfig {
            overlay_bytes_max: OVERLAY_BYTES_MAX,
            undo_bytes_max: UNDO_BYTES_MAX,
            checkpoint_entries: 32,
        };
        State::open_in_boot(parts.engine.clone(), config, parts.boot_id)
    };
    open().or_else(|_| {
        parts.world.count(|coverage| coverage.rebuilds += 1);
        parts.engine.clear()?;
        open()
    })
}

/// In place of the log's thread: what waits is written after the time that a disk takes.
fn spawn_writer(parts: &RunningParts, writer: &Arc<Mutex<LogWriter>>) {
    let queued = Arc::new(Notify::new());
    let wake = queued.clone();
    lock(writer).set_waker(Arc::new(move || wake.notify_one()));
    let (writer, clock) = (writer.clone(), parts.ports.clock.clone());
    let mut dice = parts.dice.clone();
    let writing = async move {
        loop {
            queued.notified().await;
            let slow = dice.chance(20);
            let delay = if slow { dice.duration(5_000, 60_000) } else { dice.duration(100, 1_500) };
            clock.sleep(delay).await;
            while lock(&writer).drain() {}
        }
    };
    parts.life.spawn("log writer", writing.boxed());
}

/// In place of the thread that moves applied entries into the engine.
fn spawn_flush(parts: &RunningParts, state: State) {
    let (clock, world) = (parts.ports.clock.clone(), parts.world.clone());
    let flushing = async move {
        loop {
            clock.sleep(FLUSH_INTERVAL).await;
            while state.flush().unwrap_or_else(|error| {
                world.report(Violation::new("a good disk takes writes", error.to_string()));
                false
            }) {}
        }
    };
    parts.life.spawn("state flush", flushing.boxed());
}

/// The planted bug: a follower answers reads from what it has.
struct StaleLedger {
    ledger: RaftLedger,
    raft: Raft,
}

impl Ledger for StaleLedger {
    fn view(&self) -> Arc<dyn LedgerView> {
        self.ledger.view()
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<ReadPoint, LedgerError>> {
        if self.raft.status().is_leader {
            return self.ledger.read_barrier();
        }
        let view = self.ledger.view();
        let point = ReadPoint { revision: view.revision(), leader_ms: view.stamped_ms() };
        Box::pin(std::future::ready(Ok(point)))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, LedgerError>> {
        self.ledger.commit(batch)
    }
}

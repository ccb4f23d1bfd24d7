//! What a process finds on its disk, and the tasks that write to it; everything up to the moment
//! at which it takes part.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use conclave_ports::{Ports, Spawn};
use conclave_proto::v1;
use conclave_raft::{Greeter, RaftConfig, RaftParts, StaysOut};
use conclave_store::disk::Disk;
use conclave_store::identity::IdentityStore;
use conclave_store::log::{Log, LogConfig, LogState, LogWriter};
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{MemoryEngine, State, StateConfig, StateEngine, StateError};
use futures::FutureExt;
use tokio::sync::Notify;

use super::{CLUSTER_ID, Keys, Running, lock};
use crate::Plant;
use crate::invariants::Violation;
use crate::world::{Dice, Doing, Life, LivingEngine, Moment, Mood, Network, NodeRuntime, World};

pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
const ELECTION_MIN: Duration = Duration::from_millis(400);
const ELECTION_MAX: Duration = Duration::from_millis(800);
/// Small, so that snapshots, purges and new segments are many.
const SNAPSHOT_ENTRIES: u64 = 50;
const KEEP_ENTRIES: u64 = 10;
pub(super) const SEGMENT_BYTES: u64 = 32 << 10;
const LOG_CACHE_BYTES_MAX: usize = 64 << 10;
const OVERLAY_BYTES_MAX: usize = 1 << 20;
const UNDO_BYTES_MAX: usize = 1 << 20;
/// Often, so that replicas compare their hashes within a run.
const CHECKPOINT_ENTRIES: u64 = 32;
const WAITING_COMMANDS_MAX: usize = 256;
const FLUSH_INTERVAL: Duration = Duration::from_millis(15);
const POLL: Duration = Duration::from_millis(20);
/// Between two tries to find space.
const SPACE_POLL: Duration = Duration::from_millis(100);

/// Why a process did not start.
pub(crate) struct OpenError(pub(crate) String);

/// Why a process that has its files does not take part.
pub(crate) enum StartError {
    Failed(OpenError),
    /// It was told to stay out.
    Out(StaysOut),
}

/// What a process is started on.
pub(crate) struct RunningParts {
    pub(crate) world: Arc<World>,
    pub(crate) network: Network,
    pub(crate) keys: Arc<OnceLock<Keys>>,
    pub(crate) plant: Option<Plant>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) engine: Arc<MemoryEngine>,
    pub(crate) mood: Arc<Mood>,
    pub(crate) doing: Arc<Doing>,
    pub(crate) boot_id: [u8; 16],
    pub(crate) life: Life,
    pub(crate) ports: Ports,
    pub(crate) dice: Dice,
}

/// A process with its files open.
pub(crate) struct Opened {
    pub(super) parts: RunningParts,
    pub(super) files: Files,
    pub(crate) greeter: Greeter,
    raft_parts: RaftParts,
}

impl Opened {
    /// Reads the disk.
    pub(crate) fn open(parts: RunningParts) -> Result<Self, OpenError> {
        let files = Files::open(&parts)?;
        parts.doing.has_started();
        spawn_writer(&parts, &files);
        spawn_flush(&parts, files.state.clone());
        let raft_parts = RaftParts {
            log: files.log.clone(),
            state: files.state.clone(),
            snapshots: files.snapshots.clone(),
            seen: files.seen.clone(),
            boot_counter: files.boot_counter,
            joined: files.joined.clone(),
            transport: parts.network.transport(files.node_id, parts.life.clone()),
            ports: parts.ports.clone(),
        };
        let greeter = Greeter::new(&raft_config(files.node_id), &raft_parts);
        Ok(Self { parts, files, greeter, raft_parts })
    }

    pub(crate) fn node_id(&self) -> u64 {
        self.files.node_id
    }

    /// The log's writer, for what a process does last.
    pub(crate) fn writer(&self) -> Arc<Mutex<LogWriter>> {
        self.files.writer.clone()
    }

    /// Greets the peers and starts consensus.
    pub(crate) async fn take_part(self) -> Result<Arc<Running>, StartError> {
        // With this bug planted nobody asks whether the disk is the one this id had.
        if self.parts.plant != Some(Plant::ReusedId) {
            self.greeter.greet().await.map_err(StartError::Out)?;
        }
        let config = raft_config(self.files.node_id);
        self.parts.world.event(format_args!("node {} has greeted", self.files.node_id));
        let Self { parts, files, raft_parts, .. } = self;
        let raft = conclave_raft::start::<NodeRuntime>(config, raft_parts)
            .await
            .map_err(|error| StartError::Failed(refused("consensus", error)))?;
        Ok(Running::begin(raft, parts, files))
    }
}

/// What a process finds on its disk.
pub(super) struct Files {
    pub(super) node_id: u64,
    pub(super) boot_counter: u64,
    joined: v1::Membership,
    pub(super) identities: IdentityStore,
    pub(super) log: Log,
    pub(super) writer: Arc<Mutex<LogWriter>>,
    snapshots: SnapshotStore,
    pub(super) seen: SeenStore,
    pub(super) state: State,
}

impl Files {
    fn open(parts: &RunningParts) -> Result<Self, OpenError> {
        let identities =
            IdentityStore::open(parts.disk.clone()).map_err(|e| refused("the identity", e))?;
        let identity = identities.load().ok_or_else(|| OpenError("no identity".to_owned()))?;
        let boot_counter = identities.begin_boot().map_err(|e| refused("the boot counter", e))?;
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
        let (writer, node_id) = (Arc::new(Mutex::new(writer)), identity.node_id);
        let joined = identity.joined.unwrap_or_default();
        Ok(Self { node_id, boot_counter, joined, identities, log, writer, snapshots, seen, state })
    }
}

fn refused(what: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError(format!("{what} does not open: {error}"))
}

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
            checkpoint_entries: CHECKPOINT_ENTRIES,
        };
        let (life, doing) = (parts.life.clone(), parts.doing.clone());
        let engine = LivingEngine::new(life, doing, parts.engine.clone());
        State::open_in_boot(Arc::new(engine), config, parts.boot_id)
    };
    open().or_else(|_| {
        parts.world.count(|coverage| coverage.rebuilds += 1);
        parts.engine.clear()?;
        open()
    })
}

/// In place of the log's thread: what waits is written after the time that a disk takes.
fn spawn_writer(parts: &RunningParts, files: &Files) {
    let queued = Arc::new(Notify::new());
    let wake = queued.clone();
    lock(&files.writer).set_waker(Arc::new(move || wake.notify_one()));
    let (writer, log, clock) = (files.writer.clone(), files.log.clone(), parts.ports.clock.clone());
    let (mood, doing, mut dice) = (parts.mood.clone(), parts.doing.clone(), parts.dice.clone());
    let mut ends = Ends::of(&log);
    let writing = async move {
        loop {
            queued.notified().await;
            let slow = dice.chance(20);
            let delay = if slow { dice.duration(5_000, 60_000) } else { dice.duration(100, 1_500) };
            clock.sleep(delay + mood.delay()).await;
            while mood.is_hung() {
                clock.sleep(POLL).await;
            }
            loop {
                doing.begin_group(ends.changed(&log));
                let (more, full) = drain(&writer);
                doing.begin_group(Vec::new());
                if full {
                    clock.sleep(SPACE_POLL).await;
                } else if !more {
                    break;
                }
            }
        }
    };
    parts.life.spawn("log writer", writing.boxed());
}

/// Whether more may wait, and whether it waits for space.
fn drain(writer: &Mutex<LogWriter>) -> (bool, bool) {
    let mut writer = lock(writer);
    (writer.drain(), writer.waits_for_space())
}

/// The log as it was queued so far, to tell what the next group is about.
struct Ends {
    state: LogState,
    vote: Option<v1::Vote>,
}

impl Ends {
    fn of(log: &Log) -> Self {
        Self { state: log.state(), vote: log.vote() }
    }

    /// What was queued since the last call.
    fn changed(&mut self, log: &Log) -> Vec<Moment> {
        let before = std::mem::replace(self, Self::of(log));
        let index = |id: Option<v1::LogId>| id.map_or(0, |id| id.index);
        let kept = before.state.last.is_none_or(|last| {
            last.index <= index(self.state.purged)
                || log
                    .read(last.index..last.index + 1, 1)
                    .is_ok_and(|entries| entries.first().and_then(|entry| entry.id) == Some(last))
        });
        let changes = [
            (Moment::Append, index(self.state.last) > index(before.state.last)),
            (Moment::Vote, self.vote != before.vote),
            (Moment::Truncate, !kept),
            (Moment::Purge, self.state.purged != before.state.purged),
        ];
        changes.into_iter().filter_map(|(moment, is)| is.then_some(moment)).collect()
    }
}

/// In place of the thread that moves applied entries into the engine.
fn spawn_flush(parts: &RunningParts, state: State) {
    let (clock, world, life) = (parts.ports.clock.clone(), parts.world.clone(), parts.life.clone());
    let flushing = async move {
        loop {
            clock.sleep(FLUSH_INTERVAL).await;
            while state.flush().unwrap_or_else(|error| {
                if !life.has_ended() {
                    let text = error.to_string();
                    world.report(Violation::new("a good disk takes writes", text));
                }
                false
            }) {}
        }
    };
    parts.life.spawn("state flush", flushing.boxed());
}

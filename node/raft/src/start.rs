//! Starting a node: once state and log are in step, start openraft and the tasks.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Ports;
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, Config, SnapshotPolicy};
use tokio::sync::Semaphore;

use crate::cluster_time::ClusterTime;
use crate::flags::Flags;
use crate::holds::Holds;
use crate::log_storage::LogStorage;
use crate::network::{Network, Retry};
use crate::node::Node;
use crate::observer;
use crate::progress::Progress;
use crate::propose::{ProposalQueue, run_proposer};
use crate::read_barrier::{Reader, Rounds, leader_round, run_rounds};
use crate::receiving::Receiving;
use crate::state_machine::StateMachine;
use crate::types::RaftOf;
use crate::{MembershipError, Raft, RaftConfig, RaftParts};
use crate::{caretaker, clocks, compaction, disk_watch, hash_exchange, reconcile, witness};

/// openraft's queue to the state machine. Where it is short, slow applies hold up heartbeats and
/// the leader believes that it lost its quorum.
const APPLY_QUEUE_MAX: u64 = 65_536;
/// A replication stream that owes an answer for this many election timeouts is given up.
const STREAM_IDLE_ELECTIONS: u32 = 4;

/// Starts consensus on runtime `R`.
///
/// The node begins as [`crate::Readiness::Sealed`]: it votes and replicates, and takes commands
/// only after [`crate::Consensus::set_readiness`].
///
/// # Errors
/// [`MembershipError::Refused`] with the reason, where the data directory cannot be brought into
/// step or the configuration contradicts itself. Nothing runs then. Where only a peer can help, it
/// waits for one, and may be dropped meanwhile.
pub async fn start<R: AsyncRuntime>(
    config: RaftConfig,
    parts: RaftParts,
) -> Result<Raft, MembershipError> {
    reconcile::run::<R>(&config, &parts).await.map_err(refused)?;
    let openraft_config = openraft_config(&config)?;
    let applied_state = parts.state.applied();
    let clock = parts.ports.clock.clone();
    let time = Arc::new(ClusterTime::new(clock.clone(), applied_state.stamped_ms));
    let applied = Arc::new(Progress::at(applied_state.log_id.map_or(0, |id| id.index)));
    let epoch = Arc::new(Progress::at(applied_state.epoch.max(1)));
    let machine = StateMachine {
        state: parts.state.clone(),
        snapshots: parts.snapshots.clone(),
        log: parts.log.clone(),
        cluster_id: config.cluster_id.clone(),
        applied: applied.clone(),
        epoch: epoch.clone(),
        time: time.clone(),
        runtime: PhantomData,
    };
    let holds = Arc::<Holds>::default();
    let network = network::<R>(&config, &parts, time.clone(), holds.clone());
    let log = LogStorage::new(parts.log.clone());
    let vote_saved = log.vote_saved();
    let raft = RaftOf::<R>::new(config.node_id, openraft_config, network, log, machine);
    let raft = raft.await.map_err(refused)?;
    let mut metrics = raft.metrics();
    // The first metrics are placeholders; from here on `status` tells what is on disk.
    metrics.changed().await.map_err(refused)?;

    let (proposals, proposed) = ProposalQueue::new(config.waiting_commands_max);
    let (leading, leader_waiting) = Rounds::new();
    let (reading, reader_waiting) = Rounds::new();
    let node = Arc::new(Node::<R> {
        metrics,
        raft,
        log: parts.log,
        state: parts.state,
        snapshots: parts.snapshots,
        seen: parts.seen,
        boot_counter: parts.boot_counter,
        vote_saved,
        transport: parts.transport,
        flags: Arc::new(Flags::new(clock.monotonic())),
        ports: parts.ports,
        time,
        applied,
        epoch,
        changes: Arc::new(Progress::default()),
        proposals,
        leading,
        reading,
        changing: Semaphore::new(1),
        receiving: Receiving::new(),
        holds,
        config,
    });
    let ports = &node.ports;
    spawn(ports, "raft proposer", run_proposer::<R>(node.raft.clone(), proposed));
    spawn(ports, "raft leader rounds", run_rounds(leader_waiting, leader_rounds(&node)));
    spawn(ports, "raft read rounds", run_rounds(reader_waiting, reader_rounds(&node)));
    spawn(ports, "raft observer", observer::run(node.clone()));
    spawn(ports, "raft clocks", clocks::run(node.clone()));
    spawn(ports, "raft caretaker", caretaker::run(node.clone()));
    spawn(ports, "raft members", caretaker::tend(node.clone()));
    spawn(ports, "raft compaction", compaction::run(node.clone()));
    spawn(ports, "raft disk watch", disk_watch::run(node.clone()));
    spawn(ports, "raft hash exchange", hash_exchange::run(node.clone()));
    spawn(ports, "raft witness", witness::run(node.clone()));
    Ok(node)
}

fn spawn(ports: &Ports, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    ports.spawn.spawn(name, task.boxed());
}

fn refused(why: impl ToString) -> MembershipError {
    MembershipError::Refused(why.to_string())
}

fn network<R>(
    config: &RaftConfig,
    parts: &RaftParts,
    time: Arc<ClusterTime>,
    holds: Arc<Holds>,
) -> Network<R> {
    Network {
        from: config.node_id,
        transport: parts.transport.clone(),
        log: parts.log.clone(),
        snapshots: parts.snapshots.clone(),
        holds,
        ports: parts.ports.clone(),
        time,
        retry: Retry { first: config.heartbeat / 2, max: config.election_timeout_max },
        idle_max: config.election_timeout_max * STREAM_IDLE_ELECTIONS,
        runtime: PhantomData,
    }
}

/// How long one read round may take.
fn round_max(config: &RaftConfig) -> Duration {
    config.heartbeat * 2
}

fn leader_rounds<R: AsyncRuntime>(
    node: &Node<R>,
) -> impl Fn() -> BoxFuture<'static, crate::read_barrier::Round> + Send + use<R> {
    let (raft, time, ports) = (node.raft.clone(), node.time.clone(), node.ports.clone());
    let round_max = round_max(&node.config);
    move || leader_round::<R>(raft.clone(), time.clone(), ports.clone(), round_max).boxed()
}

fn reader_rounds<R: AsyncRuntime>(
    node: &Node<R>,
) -> impl Fn() -> BoxFuture<'static, crate::read_barrier::Round> + Send + use<R> {
    let reader = Arc::new(Reader::<R> {
        node_id: node.config.node_id,
        metrics: node.metrics.clone(),
        leading: node.leading.clone(),
        transport: node.transport.clone(),
        time: node.time.clone(),
        ports: node.ports.clone(),
        round_max: round_max(&node.config),
    });
    move || reader.clone().round().boxed()
}

fn openraft_config(config: &RaftConfig) -> Result<Arc<Config>, MembershipError> {
    let openraft_config = Config {
        cluster_name: "conclave".to_owned(),
        heartbeat_interval: millis(config.heartbeat),
        election_timeout_min: millis(config.election_timeout_min),
        election_timeout_max: millis(config.election_timeout_max),
        // The node starts sealed; its caretaker decides when to campaign.
        enable_elect: false,
        enable_pre_vote: Some(true),
        // A leader that restarts is sealed, so it must not resume without an election.
        enable_leader_restore: Some(false),
        // Who has less on its disk than its peers saw is kept out by the greeting. What the leader
        // alone saw of a node that does not vote may be gone all the same: it is sent again.
        allow_log_reversion: Some(true),
        quorum_loss_probe_interval: Some(millis(config.election_timeout_max) * 2),
        state_machine_channel_size: Some(APPLY_QUEUE_MAX),
        // When a snapshot is built and the log is cut is decided here, see `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // A peer further behind than what is kept gets a snapshot.
        replication_lag_threshold: config.keep_entries.max(config.snapshot_entries),
        ..Config::default()
    };
    openraft_config.validate().map(Arc::new).map_err(refused)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

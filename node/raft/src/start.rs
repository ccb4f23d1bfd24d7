//! Starting a node: bring state and log into step, start openraft, start the tasks.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Ports;
use conclave_proto::v1::LogId;
use conclave_store::snapshot::SnapshotReader;
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::RaftLogStorage;
use openraft::{AsyncRuntime, Config, SnapshotPolicy};
use tokio::sync::Semaphore;

use crate::cluster_time::ClusterTime;
use crate::convert::decode;
use crate::flags::Flags;
use crate::log_storage::LogStorage;
use crate::network::{Network, Retry};
use crate::node::Node;
use crate::observer;
use crate::progress::Progress;
use crate::propose::{ProposalQueue, run_proposer};
use crate::read_barrier::{Reader, Rounds, leader_round, run_rounds};
use crate::state_machine::StateMachine;
use crate::types::{RaftOf, Vote};
use crate::{MembershipError, Raft, RaftConfig, RaftParts};
use crate::{blocking, caretaker, clocks, hash_exchange, snapshot};

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
/// step or the configuration contradicts itself. Nothing runs then.
pub async fn start<R: AsyncRuntime>(
    config: RaftConfig,
    parts: RaftParts,
) -> Result<Raft, MembershipError> {
    reconcile::<R>(&config, &parts).await.map_err(refused)?;
    let openraft_config = openraft_config(&config)?;
    let applied_state = parts.state.applied();
    let clock = parts.ports.clock.clone();
    let time = Arc::new(ClusterTime::new(clock.clone(), applied_state.stamped_ms));
    let applied = Arc::new(Progress::at(applied_state.log_id.map_or(0, |id| id.index)));
    let machine = StateMachine {
        state: parts.state.clone(),
        snapshots: parts.snapshots.clone(),
        cluster_id: config.cluster_id.clone(),
        applied: applied.clone(),
        time: time.clone(),
        runtime: PhantomData,
    };
    let network = network::<R>(&config, &parts, time.clone());
    let log = LogStorage::new(parts.log.clone());
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
        transport: parts.transport,
        flags: Arc::new(Flags::new(clock.monotonic())),
        ports: parts.ports,
        time,
        applied,
        changes: Arc::new(Progress::default()),
        proposals,
        leading,
        reading,
        changing: Semaphore::new(1),
        receiving: Semaphore::new(1),
        config,
    });
    let ports = &node.ports;
    spawn(ports, "raft proposer", run_proposer::<R>(node.raft.clone(), proposed));
    spawn(ports, "raft leader rounds", run_rounds(leader_waiting, leader_rounds(&node)));
    spawn(ports, "raft read rounds", run_rounds(reader_waiting, reader_rounds(&node)));
    spawn(ports, "raft observer", observer::run(node.clone()));
    spawn(ports, "raft clocks", clocks::run(node.clone()));
    spawn(ports, "raft caretaker", caretaker::run(node.clone()));
    spawn(ports, "raft hash exchange", hash_exchange::run(node.clone()));
    Ok(node)
}

fn spawn(ports: &Ports, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    ports.spawn.spawn(name, task.boxed());
}

fn refused(why: impl ToString) -> MembershipError {
    MembershipError::Refused(why.to_string())
}

fn network<R>(config: &RaftConfig, parts: &RaftParts, time: Arc<ClusterTime>) -> Network<R> {
    Network {
        from: config.node_id,
        transport: parts.transport.clone(),
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
        allow_log_reversion: Some(false),
        quorum_loss_probe_interval: Some(millis(config.election_timeout_max) * 2),
        state_machine_channel_size: Some(APPLY_QUEUE_MAX),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        max_in_snapshot_log_to_keep: config.keep_entries,
        // A peer further behind than what is kept gets a snapshot.
        replication_lag_threshold: config.keep_entries.max(config.snapshot_entries),
        ..Config::default()
    };
    openraft_config.validate().map(Arc::new).map_err(refused)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Brings state machine and log into step before Raft looks at them.
///
/// The state is derived: it may be empty or behind, then the newest snapshot comes first and the
/// log after it. The log may end before the state or contradict it, where a snapshot was received
/// right before a crash: what it holds up to there was never committed.
async fn reconcile<R: AsyncRuntime>(config: &RaftConfig, parts: &RaftParts) -> io::Result<()> {
    let latest = parts.snapshots.latest().map_err(io::Error::other)?;
    if let Some(reader) = latest.filter(|reader| is_newer(reader, applied(parts).as_ref())) {
        let state = parts.state.clone();
        blocking::run::<R, _>(move || snapshot::import(&state, reader)).await??;
    }
    let purged = parts.log.state().purged.map_or(0, |id| id.index);
    let Some(applied) = applied(parts) else {
        if purged > 0 {
            return Err(io::Error::other(
                "the log begins after entry 1 and no snapshot holds what came before; set this \
                 node's data directory aside and let it join again",
            ));
        }
        return Ok(());
    };
    if purged > applied.index {
        return Err(io::Error::other(
            "the log begins after the newest usable snapshot; set this node's data directory \
             aside and let it join again",
        ));
    }
    settle_vote::<R>(config, parts, &applied).await?;
    settle_log::<R>(config, parts, applied).await
}

/// Brings the vote up to the term of what was applied: a snapshot may have been the first message
/// of its term. A vote for itself in a term that had its leader harms nobody, and that leader's
/// next message overrules it.
async fn settle_vote<R: AsyncRuntime>(
    config: &RaftConfig,
    parts: &RaftParts,
    applied: &LogId,
) -> io::Result<()> {
    if parts.log.vote().is_some_and(|vote| vote.term >= applied.term) {
        return Ok(());
    }
    let vote = Vote::new(applied.term, config.node_id);
    LogStorage::<R>::new(parts.log.clone()).save_vote(&vote).await
}

fn applied(parts: &RaftParts) -> Option<LogId> {
    parts.state.applied().log_id
}

fn is_newer(reader: &SnapshotReader, applied: Option<&LogId>) -> bool {
    let stored = decode::log_id_option(reader.header().last_log_id.as_ref());
    stored > decode::log_id_option(applied)
}

/// Makes the log contain what was applied, or begin right after it.
async fn settle_log<R: AsyncRuntime>(
    config: &RaftConfig,
    parts: &RaftParts,
    applied: LogId,
) -> io::Result<()> {
    let log_state = parts.log.state();
    let last = log_state.last.as_ref().map(decode::log_id);
    let applied_id = decode::log_id(&applied);
    if log_state.purged.as_ref().is_some_and(|purged| purged.index >= applied.index) {
        return Ok(());
    }
    let stored = match last {
        Some(last) if last.index >= applied.index => {
            parts.log.read(applied.index..applied.index + 1, 1)?.first().and_then(|entry| entry.id)
        }
        Some(_) | None => None,
    };
    if stored.as_ref().map(decode::log_id) == Some(applied_id) {
        return Ok(());
    }
    tracing::warn!(
        index = applied.index,
        "the log does not hold what was applied; it begins anew there"
    );
    // The log may be dropped only behind a snapshot of this node's own.
    let latest = parts.snapshots.latest().map_err(io::Error::other)?;
    if latest.is_none_or(|reader| {
        reader.header().last_log_id.as_ref().map(decode::log_id) < Some(applied_id)
    }) {
        let export = parts.state.export().map_err(io::Error::other)?;
        let (snapshots, cluster_id) = (parts.snapshots.clone(), config.cluster_id.clone());
        blocking::run::<R, _>(move || snapshot::save(&snapshots, export, &cluster_id)).await??;
    }
    let mut storage = LogStorage::<R>::new(parts.log.clone());
    if stored.is_some() {
        let purged = decode::log_id_option(log_state.purged.as_ref());
        storage.truncate_after(purged).await?;
    }
    storage.purge(applied_id).await
}

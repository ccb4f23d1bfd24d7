//! The part of a node that needs no key: log, state machine and consensus of a cluster member.
//! It runs from the moment the node belongs to a cluster, sealed or not.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use conclave_ports::{Clock, Ports};
use conclave_raft::{PeerTransport, Raft, RaftConfig, RaftParts};
use conclave_store::disk::Disk;
use conclave_store::identity::Identity;
use conclave_store::log::{Log, LogConfig, LogEvent, LogWriter};
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{self, State, StateConfig};

use crate::config::{RaftTiming, Storage};
use crate::ledger::RaftLedger;

/// What [`Running::start`] needs.
pub(super) struct RunningParts<'a> {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) boot_id: [u8; 16],
    pub(super) identity: Identity,
    pub(super) timing: RaftTiming,
    pub(super) storage: &'a Storage,
    pub(super) transport: Arc<dyn PeerTransport>,
    pub(super) ports: Ports,
}

/// A member's log, state and consensus.
pub(super) struct Running {
    pub(super) cluster_id: [u8; 16],
    pub(super) node_id: u64,
    pub(super) raft: Raft,
    pub(super) state: State,
    pub(super) ledger: Arc<RaftLedger>,
    log: Log,
    threads: Threads,
}

impl Running {
    /// Opens the data directory and starts consensus. Damage to the state machine is repaired by
    /// rebuilding it from snapshot and log; damage to log or vote is an error that names the file.
    pub(super) async fn start(parts: RunningParts<'_>) -> anyhow::Result<Arc<Self>> {
        let cluster_id = parts.identity.cluster_id.as_ref();
        let cluster_id = cluster_id.try_into().context("the cluster id has not 16 bytes")?;
        let log_config = LogConfig {
            segment_bytes: SEGMENT_BYTES,
            cache_bytes_max: LOG_CACHE_BYTES_MAX,
            boot_id: parts.boot_id,
        };
        let (log, writer) =
            Log::open(parts.disk.clone(), log_config).context("the Raft log cannot be opened")?;
        let snapshots =
            SnapshotStore::open(parts.disk.clone()).context("the snapshots cannot be opened")?;
        let seen = SeenStore::open(parts.disk.clone()).context("what was seen of peers")?;
        let state = open_state(&parts.storage.path.join("state"), parts.boot_id)?;
        let threads = Threads::start(writer, state.clone(), parts.ports.clock.clone())?;
        let raft = conclave_raft::start::<conclave_raft::TokioRuntime>(
            raft_config(&parts.identity, parts.timing, parts.storage),
            RaftParts {
                log: log.clone(),
                state: state.clone(),
                snapshots,
                seen,
                boot_counter: 0,
                transport: parts.transport,
                ports: parts.ports,
            },
        )
        .await
        .context("consensus cannot be started")?;
        let ledger = Arc::new(RaftLedger::new(raft.clone(), state.clone()));
        let node_id = parts.identity.node_id;
        Ok(Arc::new(Self { cluster_id, node_id, raft, state, ledger, log, threads }))
    }

    /// Ends consensus, then everything that writes; the state is marked clean last.
    pub(super) async fn stop(&self) {
        self.raft.shutdown().await;
        self.log.close();
        self.threads.stop();
        if let Err(error) = self.state.close() {
            tracing::warn!(%error, "the state was not closed cleanly; the next start checks it");
        }
    }
}

fn raft_config(identity: &Identity, timing: RaftTiming, storage: &Storage) -> RaftConfig {
    RaftConfig {
        node_id: identity.node_id,
        cluster_id: identity.cluster_id.to_vec(),
        heartbeat: timing.heartbeat,
        election_timeout_min: timing.election_timeout_min,
        election_timeout_max: timing.election_timeout_max,
        snapshot_entries: storage.snapshot_entries,
        keep_entries: storage.keep_entries,
        waiting_commands_max: WAITING_COMMANDS_MAX,
    }
}

fn open_state(directory: &Path, boot_id: [u8; 16]) -> anyhow::Result<State> {
    let config = StateConfig {
        overlay_bytes_max: OVERLAY_BYTES_MAX,
        undo_bytes_max: UNDO_BYTES_MAX,
        checkpoint_entries: state::CHECKPOINT_ENTRIES,
    };
    let (state, rebuilt) = state::open_directory(directory, config, boot_id)
        .context("the state machine cannot be opened")?;
    if let Some(rebuilt) = rebuilt {
        tracing::warn!(
            because = rebuilt.because, set_aside = %rebuilt.set_aside.display(),
            "the state machine is rebuilt from snapshot and log"
        );
    }
    Ok(state)
}

/// The two threads that write: one for the log, one that moves the overlay into sled.
struct Threads {
    stopping: Arc<AtomicBool>,
    handles: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    fn start(mut writer: LogWriter, state: State, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        writer.set_observer(observe_log(clock));
        let log_thread =
            std::thread::Builder::new().name("log-writer".into()).spawn(move || writer.run())?;
        let flag = stopping.clone();
        let flush_thread = std::thread::Builder::new()
            .name("state-flush".into())
            .spawn(move || flush_until_stopped(&state, &flag))?;
        let handles = std::sync::Mutex::new(vec![log_thread, flush_thread]);
        Ok(Self { stopping, handles })
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let handles = std::mem::take(
            &mut *self.handles.lock().expect("no thread panics while it holds this lock"),
        );
        for handle in handles {
            if handle.join().is_err() {
                tracing::error!("a storage thread had panicked");
            }
        }
    }
}

/// Turns the writer's moments into metrics.
fn observe_log(clock: Arc<dyn Clock>) -> Box<dyn Fn(LogEvent) + Send> {
    let sync_began = Cell::new(Duration::ZERO);
    Box::new(move |event| match event {
        LogEvent::WriteBegins { bytes } => {
            metrics::counter!("conclave_log_written_bytes_total").increment(bytes as u64);
        }
        LogEvent::SyncBegins => sync_began.set(clock.monotonic()),
        LogEvent::SyncEnded { .. } => {
            let seconds = clock.monotonic().saturating_sub(sync_began.get()).as_secs_f64();
            metrics::histogram!("conclave_log_fsync_seconds").record(seconds);
        }
        LogEvent::SegmentBegan { .. } | LogEvent::GroupEnded { .. } => {}
    })
}

/// sled is derived state: an error here costs a rebuild at the next start, not data.
fn flush_until_stopped(state: &State, stopping: &AtomicBool) {
    while !stopping.load(Ordering::Acquire) {
        std::thread::sleep(FLUSH_INTERVAL);
        metrics::gauge!("conclave_state_overlay_bytes").set(state.overlay_bytes() as f64);
        loop {
            match state.flush() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "the state machine cannot be flushed; the overlay grows");
                    break;
                }
            }
        }
    }
}

const SEGMENT_BYTES: u64 = 64 << 20;
const LOG_CACHE_BYTES_MAX: usize = 32 << 20;
const OVERLAY_BYTES_MAX: usize = 64 << 20;
const UNDO_BYTES_MAX: usize = 64 << 20;
const WAITING_COMMANDS_MAX: usize = 16_384;
const FLUSH_INTERVAL: Duration = Duration::from_millis(15);

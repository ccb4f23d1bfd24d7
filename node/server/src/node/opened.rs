//! The open data directory of a member: log, state machine, snapshots, what was seen of the peers,
//! and the threads that write.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_raft::{Greeter, PeerTransport, RaftConfig, RaftParts};
use conclave_store::disk::{Disk, Open};
use conclave_store::identity::{Identity, IdentityStore};
use conclave_store::log::{Log, LogConfig, LogWriter};
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{self, State, StateConfig, StateError};

use super::space::Space;
use super::threads::{Damaged, Threads, Work};
use crate::config::{RaftTiming, Storage};

/// What [`Opened::open`] needs.
pub(super) struct OpenParts<'a> {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) space: Arc<Space>,
    pub(super) boot_id: [u8; 16],
    pub(super) identities: &'a IdentityStore,
    pub(super) identity: Identity,
    pub(super) timing: RaftTiming,
    pub(super) storage: &'a Storage,
    pub(super) transport: Arc<dyn PeerTransport>,
    pub(super) ports: Ports,
    /// Told once, where the state turns out to be damaged.
    pub(super) damage: Damaged,
}

/// The open files of a member.
pub(super) struct Opened {
    pub(super) cluster_id: [u8; 16],
    pub(super) node_id: u64,
    pub(super) config: RaftConfig,
    pub(super) state: State,
    pub(super) log: Log,
    /// Answers what this node has on disk and what it saw of others, whether consensus runs or not.
    pub(super) greeter: Greeter,
    snapshots: SnapshotStore,
    seen: SeenStore,
    boot_counter: u64,
    joined: v1::Membership,
    transport: Arc<dyn PeerTransport>,
    ports: Ports,
    threads: Threads,
    damage: Damaged,
}

impl Opened {
    /// Opens the data directory. Damage to the state machine is repaired by rebuilding it from
    /// snapshot and log; damage to log or vote is an error that names the file. Counts the start.
    pub(super) fn open(parts: OpenParts<'_>) -> anyhow::Result<Arc<Self>> {
        let cluster_id = parts.identity.cluster_id.as_ref();
        let cluster_id = cluster_id.try_into().context("the cluster id has not 16 bytes")?;
        // The log is made by the start that saves the identity, and that start is counted once the
        // log is there.
        anyhow::ensure!(
            parts.identities.boot_counter() == 0
                || parts.disk.open(LOG_MARK, Open::Existing).is_ok(),
            "{LOG_MARK} is gone, and with it what this node promised: {WAY_OUT}"
        );
        let (log, writer) = open_log(&parts.disk, parts.boot_id)?;
        let boot_counter = parts
            .identities
            .begin_boot()
            .context("this start cannot be counted; where the disk is full, free space there")?;
        let snapshots =
            SnapshotStore::open(parts.disk.clone()).context("the snapshots cannot be opened")?;
        let seen = SeenStore::open(parts.disk.clone()).context("what was seen of peers")?;
        let state = open_state(&parts.storage.path, parts.boot_id)?;
        let threads = Threads::start(Work {
            writer,
            state: state.clone(),
            clock: parts.ports.clock.clone(),
            space: parts.space,
            scrub_bytes_per_s: parts.storage.scrub_bytes_per_s,
            damaged: parts.damage.clone(),
        })?;
        let config = raft_config(&parts.identity, parts.timing, parts.storage);
        let (transport, ports) = (parts.transport, parts.ports);
        let joined = parts.identity.joined.clone().unwrap_or_default();
        let raft_parts = RaftParts {
            log: log.clone(),
            state: state.clone(),
            snapshots: snapshots.clone(),
            seen: seen.clone(),
            boot_counter,
            joined: joined.clone(),
            transport: transport.clone(),
            ports: ports.clone(),
        };
        Ok(Arc::new(Self {
            cluster_id,
            node_id: parts.identity.node_id,
            greeter: Greeter::new(&config, &raft_parts),
            config,
            state,
            log,
            snapshots,
            seen,
            boot_counter,
            joined,
            transport,
            ports,
            threads,
            damage: parts.damage,
        }))
    }

    /// What consensus is made of.
    pub(super) fn raft_parts(&self) -> RaftParts {
        RaftParts {
            log: self.log.clone(),
            state: self.state.clone(),
            snapshots: self.snapshots.clone(),
            seen: self.seen.clone(),
            boot_counter: self.boot_counter,
            joined: self.joined.clone(),
            transport: self.transport.clone(),
            ports: self.ports.clone(),
        }
    }

    /// Whether the newest attempt to write the state failed.
    pub(super) fn state_fails(&self) -> bool {
        self.threads.state_fails()
    }

    /// Ends everything that writes; the state is marked clean last. Consensus has ended, or never
    /// began: perhaps because the state could not be read, and the next start is not to meet the
    /// same again.
    pub(super) fn close(&self) {
        self.log.close();
        self.threads.stop();
        match self.state.close() {
            Ok(()) => {}
            Err(error @ StateError::Damaged(_)) => (self.damage)(error.to_string()),
            Err(error) => {
                tracing::warn!(%error, "the state was not closed cleanly; the next start checks it");
            }
        }
        if let Err(error) = self.seen.save() {
            tracing::warn!(%error, "what was seen of the peers was not saved");
        }
    }
}

/// The log as every part of this program opens it.
pub(super) fn open_log(
    disk: &Arc<dyn Disk>,
    boot_id: [u8; 16],
) -> anyhow::Result<(Log, LogWriter)> {
    let config =
        LogConfig { segment_bytes: SEGMENT_BYTES, cache_bytes_max: LOG_CACHE_BYTES_MAX, boot_id };
    Log::open(disk.clone(), config).context("the Raft log cannot be opened")
}

/// The state machine as every part of this program opens it.
pub(super) fn open_state(data_dir: &Path, boot_id: [u8; 16]) -> anyhow::Result<State> {
    let directory = data_dir.join("state");
    set_aside_if_noted(data_dir, &directory)?;
    let config = StateConfig {
        overlay_bytes_max: OVERLAY_BYTES_MAX,
        undo_bytes_max: UNDO_BYTES_MAX,
        checkpoint_entries: state::CHECKPOINT_ENTRIES,
    };
    let (state, rebuilt) = state::open_directory(&directory, config, boot_id)
        .context("the state machine cannot be opened")?;
    if let Some(rebuilt) = rebuilt {
        tracing::warn!(
            because = rebuilt.because, set_aside = %rebuilt.set_aside.display(),
            "the state machine is rebuilt from snapshot and log"
        );
    }
    Ok(state)
}

/// A scrub of the start before found damage and left a note: what it found must not be opened.
fn set_aside_if_noted(data_dir: &Path, directory: &Path) -> anyhow::Result<()> {
    let note = data_dir.join(DAMAGE_NOTE);
    let Ok(because) = std::fs::read_to_string(&note) else { return Ok(()) };
    let set_aside = directory.with_extension("damaged");
    let moved = || -> std::io::Result<()> {
        if directory.exists() {
            if set_aside.exists() {
                std::fs::remove_dir_all(&set_aside)?;
            }
            std::fs::rename(directory, &set_aside)?;
        }
        std::fs::remove_file(&note)?;
        std::fs::File::open(data_dir)?.sync_all()
    };
    moved().with_context(|| format!("the damaged {} cannot be set aside", directory.display()))?;
    tracing::warn!(
        because = because.trim(), set_aside = %set_aside.display(),
        "the state machine was found damaged and is rebuilt from snapshot and log"
    );
    Ok(())
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

/// There from the first start of the log on.
const LOG_MARK: &str = "log/mark";
/// Says that the state is to be set aside at the next start.
pub(super) const DAMAGE_NOTE: &str = "state.damage";
/// How a node comes back whose own files no longer tell what it promised.
pub(super) const WAY_OUT: &str = "set the node's data aside and join it again with `conclaved rejoin --config FILE`, or, where most nodes are lost, see `conclaved recover`";
/// A start reads segments whole, one at a time, so this much memory goes into it.
const SEGMENT_BYTES: u64 = 16 << 20;
const LOG_CACHE_BYTES_MAX: usize = 8 << 20;
/// A node that catches up applies faster than sled writes, so it fills this. Then each entry waits
/// for a batch of it, as it would for a larger one later.
const OVERLAY_BYTES_MAX: usize = 16 << 20;
/// A copy of the state fills half of this under steady writes, before images go to the engine.
const UNDO_BYTES_MAX: usize = 32 << 20;
const WAITING_COMMANDS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_the_scrub_complained_of_is_set_aside_once() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let (data_dir, state) = (place.path(), place.path().join("state"));
        for content in ["first", "second"] {
            std::fs::create_dir_all(&state).expect("writable");
            std::fs::write(state.join("db"), content).expect("writable");
            set_aside_if_noted(data_dir, &state).expect("nothing to do");
            assert!(state.exists(), "nobody complained");
            std::fs::write(data_dir.join(DAMAGE_NOTE), "a checksum").expect("writable");
            set_aside_if_noted(data_dir, &state).expect("movable");
            let kept = std::fs::read_to_string(data_dir.join("state.damaged/db"));
            assert_eq!(kept.expect("it is there"), content);
            assert!(!state.exists() && !data_dir.join(DAMAGE_NOTE).exists());
        }
        std::fs::write(data_dir.join(DAMAGE_NOTE), "a checksum").expect("writable");
        set_aside_if_noted(data_dir, &state).expect("there is nothing to move");
        assert!(!data_dir.join(DAMAGE_NOTE).exists());
    }
}

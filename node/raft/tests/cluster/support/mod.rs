//! A cluster of real nodes in one thread: real log and state code on disks in memory, a router in
//! place of sockets, openraft's seeded runtime in place of tokio.

mod outside;
mod router;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conclave_ports::{Clock, Ports};
use conclave_proto::v1;
use conclave_raft::{
    AddMember, Greeter, MembershipError, ProposeError, Proposed, Raft, RaftConfig, RaftParts,
    Readiness, StaysOut, start,
};
use conclave_store::disk::{Disk, MemoryDisk, Open};
use conclave_store::log::{Log, LogConfig};
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{MemoryEngine, State, StateConfig};
use futures::FutureExt;
use futures::future::join_all;
use openraft_rt_sim::SimRuntime;
pub(crate) use outside::{ports, skewed};
pub(crate) use router::{Router, Tamper};
use tokio::sync::Notify;

pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(crate) const ELECTION_MAX: Duration = Duration::from_millis(800);
pub(crate) const CLUSTER_ID: &[u8] = b"test cluster";

/// Runs a test on a fresh runtime of this seed.
pub(crate) fn simulate<T>(seed: u64, test: impl AsyncFnOnce(Cluster) -> T) -> T {
    use openraft::AsyncRuntime;
    let mut runtime = SimRuntime::with_seed(seed);
    runtime.block_on(async move { test(Cluster::new(seed)).await })
}

/// As [`simulate`]; also the executor's trace.
pub(crate) fn traced(seed: u64, test: impl AsyncFnOnce(Cluster)) -> Vec<String> {
    use openraft::AsyncRuntime;
    let mut runtime = SimRuntime::with_seed(seed);
    runtime.record_trace(true);
    runtime.block_on(async move { test(Cluster::new(seed)).await });
    runtime.take_trace()
}

pub(crate) struct Cluster {
    pub(crate) router: Router,
    pub(crate) ports: Ports,
    pub(crate) nodes: BTreeMap<u64, Running>,
    disks: BTreeMap<u64, MemoryDisk>,
    skews_ms: BTreeMap<u64, Arc<AtomicI64>>,
    /// How long a node's disk takes for a sync, in microseconds.
    syncs_us: BTreeMap<u64, Arc<AtomicU64>>,
    boots: BTreeMap<u64, u64>,
    /// Boots of the machine, which are fewer than starts of the node.
    boot_ids: BTreeMap<u64, u8>,
    pub(crate) snapshot_entries: u64,
    pub(crate) keep_entries: u64,
}

/// A node before consensus runs.
pub(crate) struct Opened {
    pub(crate) config: RaftConfig,
    pub(crate) parts: RaftParts,
    pub(crate) greeter: Greeter,
}

/// A node's disk as it was.
pub(crate) struct Copy {
    files: Vec<(String, Vec<u8>)>,
    boots: u64,
}

/// Takes as long as a sync; one that hangs ends once the disk no longer hangs.
async fn sync(clock: &Arc<dyn Clock>, sync_us: &AtomicU64) {
    loop {
        match sync_us.load(Ordering::Relaxed) {
            u64::MAX => clock.sleep(Duration::from_millis(10)).await,
            us => return clock.sleep(Duration::from_micros(us)).await,
        }
    }
}

pub(crate) struct Running {
    pub(crate) raft: Raft,
    pub(crate) state: State,
    pub(crate) log: Log,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let ports = ports(seed);
        Self {
            router: Router::new(ports.clone()),
            ports,
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            skews_ms: BTreeMap::new(),
            syncs_us: BTreeMap::new(),
            boots: BTreeMap::new(),
            boot_ids: BTreeMap::new(),
            snapshot_entries: 1_000_000,
            keep_entries: 1_000,
        }
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.ports.clock.sleep(duration).await;
    }

    /// Starts a node on its disk, with an empty state machine.
    pub(crate) async fn start(&mut self, id: u64) -> Raft {
        self.try_start(id).await.expect("the node starts")
    }

    pub(crate) async fn try_start(&mut self, id: u64) -> Result<Raft, MembershipError> {
        let opened = self.open(id);
        self.start_opened(opened).await
    }

    /// Opens what a node has on disk; from then on it answers greetings.
    pub(crate) fn open(&mut self, id: u64) -> Opened {
        let disk = self.disk(id);
        let skew_ms = self.skew_of(id);
        let boot_counter = self.boots.entry(id).or_default();
        *boot_counter += 1;
        let boot_counter = *boot_counter;
        let parts = RaftParts {
            joined: conclave_proto::v1::Membership::default(),
            seen: SeenStore::open(disk.clone()).expect("a good disk"),
            boot_counter,
            log: self.open_log(id),
            state: open_state(),
            snapshots: SnapshotStore::open(disk).expect("snapshots open"),
            transport: self.router.transport(id),
            ports: skewed(&self.ports, skew_ms),
        };
        let config = self.config(id);
        let greeter = Greeter::new(&config, &parts);
        self.router.attach_greeter(id, greeter.clone());
        Opened { config, parts, greeter }
    }

    pub(crate) async fn start_opened(&mut self, opened: Opened) -> Result<Raft, MembershipError> {
        let Opened { config, parts, .. } = opened;
        let id = config.node_id;
        let (state, log) = (parts.state.clone(), parts.log.clone());
        let raft = start::<SimRuntime>(config, parts).await?;
        self.router.attach(id, raft.clone());
        self.nodes.insert(id, Running { raft: raft.clone(), state, log });
        Ok(raft)
    }

    /// Starts nodes as the server does: they greet first, all at the same time. Those that stay
    /// out answer no more.
    pub(crate) async fn greet_and_start(
        &mut self,
        ids: impl IntoIterator<Item = u64>,
    ) -> BTreeMap<u64, StaysOut> {
        let opened: Vec<_> = ids.into_iter().map(|id| self.open(id)).collect();
        let greeters: Vec<_> = opened.iter().map(|one| one.greeter.clone()).collect();
        let greeted = join_all(greeters.iter().map(Greeter::greet)).await;
        let mut out = BTreeMap::new();
        for (opened, greeted) in opened.into_iter().zip(greeted) {
            let id = opened.config.node_id;
            match greeted {
                Ok(()) => {
                    let raft = self.start_opened(opened).await.expect("the node starts");
                    raft.set_readiness(Readiness::Ready);
                }
                Err(why) => {
                    self.router.detach(id);
                    opened.parts.log.close();
                    out.insert(id, why);
                }
            }
        }
        out
    }

    /// A copy of a stopped node's disk, with all that was written.
    pub(crate) fn copy_of(&self, id: u64) -> Copy {
        let files = self.disks[&id].contents();
        Copy { files, boots: self.boots.get(&id).copied().unwrap_or_default() }
    }

    /// Puts a copy in the place of a stopped node's disk.
    pub(crate) fn put_back(&mut self, id: u64, copy: &Copy) {
        let disk = MemoryDisk::new();
        for (path, bytes) in &copy.files {
            if let Some((directory, _)) = path.rsplit_once('/') {
                disk.create_dir(directory).expect("a directory");
            }
            let file = disk.open(path, Open::New).expect("a new file");
            file.write_at(0, bytes).expect("it is written");
            file.sync().expect("it is synced");
        }
        self.disks.insert(id, disk);
        self.boots.insert(id, copy.boots);
    }

    /// Makes the syncs of a node's log this slow.
    pub(crate) fn slow_down(&mut self, id: u64, sync: Duration) {
        let sync_us = u64::try_from(sync.as_micros()).expect("a short sync");
        self.syncs_of(id).store(sync_us, Ordering::Relaxed);
    }

    /// Makes the syncs of a node's log hang until [`Self::slow_down`] is called.
    pub(crate) fn hang(&mut self, id: u64) {
        self.syncs_of(id).store(u64::MAX, Ordering::Relaxed);
    }

    fn syncs_of(&mut self, id: u64) -> Arc<AtomicU64> {
        self.syncs_us.entry(id).or_insert_with(|| Arc::new(AtomicU64::new(200))).clone()
    }

    /// Sets the wall clock of a node to this much after the true time.
    pub(crate) fn skew(&mut self, id: u64, skew_ms: i64) {
        self.skew_of(id).store(skew_ms, Ordering::Relaxed);
    }

    fn skew_of(&mut self, id: u64) -> Arc<AtomicI64> {
        self.skews_ms.entry(id).or_default().clone()
    }

    pub(crate) fn disk(&mut self, id: u64) -> Arc<MemoryDisk> {
        Arc::new(self.disks.entry(id).or_default().clone())
    }

    /// Opens a node's log and starts a task that writes what is queued.
    pub(crate) fn open_log(&mut self, id: u64) -> Log {
        let mut boot_id = [id as u8; 16];
        boot_id[0] = self.boot_ids.get(&id).copied().unwrap_or_default();
        let config = LogConfig { segment_bytes: 1 << 20, cache_bytes_max: 1 << 22, boot_id };
        let (log, mut writer) = Log::open(self.disk(id), config).expect("the log opens");
        let queued = Arc::new(Notify::new());
        let wake = queued.clone();
        writer.set_waker(Arc::new(move || wake.notify_one()));
        let clock = self.ports.clock.clone();
        let sync_us = self.syncs_of(id);
        let drain = async move {
            loop {
                queued.notified().await;
                let mut more = true;
                while more {
                    sync(&clock, &sync_us).await;
                    more = writer.drain();
                }
            }
        };
        self.ports.spawn.spawn("log writer", drain.boxed());
        log
    }

    pub(crate) fn config(&self, node_id: u64) -> RaftConfig {
        RaftConfig {
            node_id,
            cluster_id: CLUSTER_ID.to_vec(),
            heartbeat: HEARTBEAT,
            election_timeout_min: Duration::from_millis(400),
            election_timeout_max: ELECTION_MAX,
            snapshot_entries: self.snapshot_entries,
            keep_entries: self.keep_entries,
            waiting_commands_max: 2_048,
        }
    }

    /// Ends a node without a word to the others.
    pub(crate) async fn stop(&mut self, id: u64) {
        self.router.detach(id);
        let node = self.nodes.remove(&id).expect("the node runs");
        node.raft.shutdown().await;
        node.log.close();
    }

    /// Ends a node's machine: of what was not synced stays what chance leaves.
    pub(crate) async fn cut_power(&mut self, id: u64) {
        let ports = self.ports.clone();
        self.disk(id).power_cut(|| u64::from_le_bytes(ports.random()));
        self.stop(id).await;
        self.boot_ids.entry(id).and_modify(|boot| *boot += 1).or_insert(1);
    }

    /// A ready cluster of nodes 1 to `size`, node 1 leading.
    pub(crate) async fn form(&mut self, size: u64) {
        let first = self.start(1).await;
        first.bootstrap(member(1)).await.expect("the cluster bootstraps");
        first.set_readiness(Readiness::Ready);
        for id in 2..=size {
            self.start(id).await.set_readiness(Readiness::Ready);
            let add = AddMember { member: member(id), voter: true };
            first.add_member(add).await.expect("the member is added");
        }
    }

    pub(crate) fn raft(&self, id: u64) -> Raft {
        self.nodes[&id].raft.clone()
    }

    /// The leader that a majority of the running nodes knows, once there is one.
    pub(crate) async fn leader(&self) -> u64 {
        self.eventually("a leader", |cluster| {
            let leading = cluster.nodes.iter().filter(|(_, node)| node.raft.status().is_leader);
            let newest = leading.max_by_key(|(_, node)| node.raft.status().term)?;
            let (id, term) = (*newest.0, newest.1.raft.status().term);
            let followers = cluster.nodes.values().filter(|node| {
                let status = node.raft.status();
                status.leader_id == Some(id) && status.term == term
            });
            (followers.count() * 2 > cluster.nodes.len()).then_some(id)
        })
        .await
    }

    /// Polls until `seen` yields something; panics after a virtual minute.
    pub(crate) async fn eventually<T>(&self, what: &str, seen: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..6_000 {
            if let Some(value) = seen(self) {
                return value;
            }
            self.sleep(Duration::from_millis(10)).await;
        }
        let statuses: Vec<_> = self.nodes.values().map(|node| node.raft.status()).collect();
        panic!("{what} did not come: {statuses:#?}");
    }

    /// Proposes one write to whoever leads, until it is taken.
    pub(crate) async fn write(&self, name: &str, value: &str) -> Proposed {
        loop {
            let leader = self.leader().await;
            match self.raft(leader).propose(put(name, value)).await {
                Ok(proposed) => return proposed,
                Err(ProposeError::NotLeader) => self.sleep(HEARTBEAT).await,
                Err(error) => panic!("the write failed: {error}"),
            }
        }
    }

    /// Reads behind a barrier on one node.
    pub(crate) async fn read(&self, id: u64, name: &str) -> Option<String> {
        let node = &self.nodes[&id];
        let point = node.raft.read_barrier().await.expect("a read point");
        let view = node.state.view();
        assert!(view.revision() >= point.index, "the state lags behind its read point");
        let row = view.get(&key(name)).expect("a row can be read")?;
        Some(String::from_utf8(row.value.to_vec()).expect("text"))
    }
}

pub(crate) fn open_state() -> State {
    let config = StateConfig {
        overlay_bytes_max: 1 << 26,
        undo_bytes_max: 1 << 26,
        checkpoint_entries: 1_024,
    };
    State::open(Arc::new(MemoryEngine::new()), config).expect("the state opens")
}

pub(crate) fn member(node_id: u64) -> v1::Member {
    v1::Member {
        node_id,
        name: format!("node-{node_id}"),
        cluster_addr: format!("node-{node_id}:8201"),
        api_addr: format!("https://node-{node_id}:8200"),
        spki_pin: Bytes::from(vec![node_id as u8; 32]),
        voter_wanted: false,
        approved: false,
    }
}

pub(crate) fn key(name: &str) -> v1::Key {
    v1::Key { segments: vec![Bytes::copy_from_slice(name.as_bytes())], flat: false }
}

pub(crate) fn put(name: &str, value: &str) -> v1::Command {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    v1::Command { writes: vec![v1::Write { key: Some(key(name)), value }], ..Default::default() }
}

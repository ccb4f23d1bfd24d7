//! The same code on the runtime of production: threads, real time, a real disk.
#![expect(clippy::disallowed_methods, reason = "a test's own ports read the real clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use conclave_ports::{Clock, Ports, Rng, Spawn};
use conclave_proto::v1;
use conclave_raft::{
    PeerError, PeerTransport, Raft, RaftConfig, RaftParts, Readiness, Target, start,
};
use conclave_store::disk::RealDisk;
use conclave_store::log::{Log, LogConfig};
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{MemoryEngine, State, StateConfig};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use openraft::impls::TokioRuntime;

struct RealClock(Instant);

impl Clock for RealClock {
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

struct FixedRng;

impl Rng for FixedRng {
    fn fill(&self, out: &mut [u8]) {
        out.fill(7);
    }
}

struct TokioSpawn;

impl Spawn for TokioSpawn {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(tokio::spawn(task));
    }
}

/// A node that is alone has nobody to talk to.
struct Alone;

fn nobody<T>(target: &Target) -> BoxFuture<'static, Result<T, PeerError>>
where
    T: Send + 'static,
{
    let (node_id, reason) = (target.node_id, "alone".to_owned());
    std::future::ready(Err(PeerError::Unreachable { node_id, reason })).boxed()
}

impl PeerTransport for Alone {
    fn append(
        &self,
        target: &Target,
        _: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<v1::AppendReply, PeerError>>, PeerError>>
    {
        nobody(target)
    }

    fn vote(
        &self,
        target: &Target,
        _: v1::VoteRequest,
    ) -> BoxFuture<'static, Result<v1::VoteReply, PeerError>> {
        nobody(target)
    }

    fn snapshot(
        &self,
        target: &Target,
        _: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'static, Result<v1::SnapshotReply, PeerError>> {
        nobody(target)
    }

    fn transfer(
        &self,
        target: &Target,
        _: v1::TransferRequest,
    ) -> BoxFuture<'static, Result<v1::TransferReply, PeerError>> {
        nobody(target)
    }

    fn read_index(
        &self,
        target: &Target,
        _: v1::ReadIndexRequest,
    ) -> BoxFuture<'static, Result<v1::ReadIndexReply, PeerError>> {
        nobody(target)
    }

    fn greet(
        &self,
        target: &Target,
        _: v1::GreetRequest,
    ) -> BoxFuture<'static, Result<v1::GreetReply, PeerError>> {
        nobody(target)
    }

    fn status(
        &self,
        target: &Target,
        _: v1::StatusRequest,
    ) -> BoxFuture<'static, Result<v1::StatusReply, PeerError>> {
        nobody(target)
    }
}

struct Node {
    raft: Raft,
    state: State,
    log: Log,
    writer: std::thread::JoinHandle<()>,
}

/// The tasks of a node before let go of the directory at their next step.
async fn lock(directory: &Path) -> RealDisk {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match RealDisk::open(directory) {
            Ok(disk) => return disk,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn open(directory: &Path) -> Node {
    let disk = Arc::new(lock(directory).await);
    let config = LogConfig { segment_bytes: 1 << 20, cache_bytes_max: 1 << 20, boot_id: [1; 16] };
    let (log, writer) = Log::open(disk.clone(), config).expect("the log opens");
    let thread = std::thread::Builder::new().name("log writer".to_owned());
    let writer = thread.spawn(move || writer.run()).expect("a thread starts");
    let config = StateConfig {
        overlay_bytes_max: 1 << 20,
        undo_bytes_max: 1 << 20,
        checkpoint_entries: 1_024,
    };
    let state = State::open(Arc::new(MemoryEngine::new()), config).expect("the state opens");
    let seen = conclave_store::seen::SeenStore::open(disk.clone()).expect("a good disk");
    let parts = RaftParts {
        joined: conclave_proto::v1::Membership::default(),
        seen,
        boot_counter: 1,
        log: log.clone(),
        state: state.clone(),
        snapshots: SnapshotStore::open(disk).expect("snapshots open"),
        transport: Arc::new(Alone),
        ports: Ports {
            clock: Arc::new(RealClock(Instant::now())),
            rng: Arc::new(FixedRng),
            spawn: Arc::new(TokioSpawn),
        },
    };
    let config = RaftConfig {
        node_id: 1,
        cluster_id: b"test cluster".to_vec(),
        heartbeat: Duration::from_millis(50),
        election_timeout_min: Duration::from_millis(200),
        election_timeout_max: Duration::from_millis(400),
        snapshot_entries: 200,
        keep_entries: 20,
        waiting_commands_max: 1_024,
    };
    let raft = start::<TokioRuntime>(config, parts).await.expect("the node starts");
    raft.set_readiness(Readiness::Ready);
    Node { raft, state, log, writer }
}

async fn close(node: Node) {
    node.raft.shutdown().await;
    node.log.close();
    node.writer.join().expect("the writer ends");
}

fn key(name: &str) -> v1::Key {
    v1::Key { segments: vec![Bytes::copy_from_slice(name.as_bytes())], flat: false }
}

fn put(name: &str, value: &str) -> v1::Command {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    v1::Command { writes: vec![v1::Write { key: Some(key(name)), value }], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_what_it_committed_over_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = open(directory.path()).await;
    let member = v1::Member { node_id: 1, name: "one".to_owned(), ..Default::default() };
    node.raft.bootstrap(member).await.expect("it bootstraps");
    for round in 0..5_u32 {
        let writes = (0..100).map(|n| node.raft.propose(put(&format!("k{n}"), &round.to_string())));
        for outcome in futures::future::join_all(writes).await {
            outcome.expect("the write commits");
        }
    }
    close(node).await;

    let node = open(directory.path()).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let point = loop {
        match node.raft.read_barrier().await {
            Ok(point) => break point,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let view = node.state.view();
    assert!(view.revision() >= point.index);
    for n in 0..100 {
        let row = view.get(&key(&format!("k{n}"))).expect("a row can be read");
        assert_eq!(row.expect("the row is there").value, "4");
    }
    close(node).await;
}

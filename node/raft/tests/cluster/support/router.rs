//! Messages between nodes of one thread: a millisecond each way, links that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_raft::{Greeter, PeerError, PeerTransport, Raft, SnapshotParts, Target};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

const HOP: Duration = Duration::from_millis(1);

/// Changes a status on its way.
pub(crate) type Tamper = Arc<dyn Fn(&mut v1::StatusReply) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Router {
    ports: Ports,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<u64, Raft>,
    greeters: BTreeMap<u64, Greeter>,
    /// Directed.
    cut: BTreeSet<(u64, u64)>,
    /// By who asks and who answers.
    tampered: BTreeMap<(u64, u64), Tamper>,
    /// Ids that refuse every append at once.
    refusing: BTreeSet<u64>,
    /// By who is sent to, heartbeats excluded.
    streams: BTreeMap<u64, u64>,
    heartbeats: BTreeMap<u64, u64>,
    read_index_calls: u64,
    snapshot_calls: u64,
    /// How long each part of a snapshot takes, on top.
    snapshot_delay: Duration,
}

impl Router {
    pub(crate) fn new(ports: Ports) -> Self {
        Self { ports, inner: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds the router")
    }

    pub(crate) fn attach(&self, id: u64, raft: Raft) {
        self.lock().nodes.insert(id, raft);
    }

    pub(crate) fn greeter(&self, id: u64) -> Option<Greeter> {
        self.lock().greeters.get(&id).cloned()
    }

    /// From now on this node answers greetings, whether Raft runs in it or not.
    pub(crate) fn attach_greeter(&self, id: u64, greeter: Greeter) {
        self.lock().greeters.insert(id, greeter);
    }

    pub(crate) fn detach(&self, id: u64) {
        let mut inner = self.lock();
        inner.nodes.remove(&id);
        inner.greeters.remove(&id);
    }

    pub(crate) fn cut(&self, a: u64, b: u64) {
        self.lock().cut.extend([(a, b), (b, a)]);
    }

    pub(crate) fn isolate(&self, id: u64, others: impl IntoIterator<Item = u64>) {
        others.into_iter().for_each(|other| self.cut(id, other));
    }

    pub(crate) fn heal(&self) {
        self.lock().cut.clear();
    }

    pub(crate) fn tamper(&self, asks: u64, answers: u64, tamper: Tamper) {
        self.lock().tampered.insert((asks, answers), tamper);
    }

    pub(crate) fn refuse_appends(&self, id: u64) {
        self.lock().refusing.insert(id);
    }

    pub(crate) fn accept_appends(&self, id: u64) {
        self.lock().refusing.remove(&id);
    }

    /// Replication streams and heartbeats that anybody tried to send to `id` so far.
    pub(crate) fn append_calls(&self, id: u64) -> (u64, u64) {
        let inner = self.lock();
        let count = |calls: &BTreeMap<u64, u64>| calls.get(&id).copied().unwrap_or(0);
        (count(&inner.streams), count(&inner.heartbeats))
    }

    fn count_append(&self, to: u64, single: bool) -> Result<(), PeerError> {
        let mut inner = self.lock();
        let calls = if single { &mut inner.heartbeats } else { &mut inner.streams };
        *calls.entry(to).or_default() += 1;
        if !inner.refusing.contains(&to) {
            return Ok(());
        }
        Err(PeerError::Refused { node_id: to, reason: "raft does not run here".to_owned() })
    }

    pub(crate) fn read_index_calls(&self) -> u64 {
        self.lock().read_index_calls
    }

    /// From now on each part of a snapshot that a leader sends takes this long.
    pub(crate) fn slow_snapshots(&self, delay: Duration) {
        self.lock().snapshot_delay = delay;
    }

    pub(crate) fn snapshot_calls(&self) -> u64 {
        self.lock().snapshot_calls
    }

    pub(crate) fn transport(&self, from: u64) -> Arc<dyn PeerTransport> {
        Arc::new(Transport { from, router: self.clone() })
    }

    fn open(&self, from: u64, to: u64) -> bool {
        let inner = self.lock();
        inner.nodes.contains_key(&to) && !inner.cut.contains(&(from, to))
    }

    /// The node at the other end, after one hop.
    async fn reach(&self, from: u64, to: u64) -> Result<Raft, PeerError> {
        self.ports.clock.sleep(HOP).await;
        if !self.open(from, to) {
            return Err(unreachable(to));
        }
        self.lock().nodes.get(&to).cloned().ok_or_else(|| unreachable(to))
    }

    fn reach_greeter(&self, from: u64, to: u64) -> Result<Greeter, PeerError> {
        let cut = self.lock().cut.contains(&(from, to));
        self.greeter(to).filter(|_| !cut).ok_or_else(|| unreachable(to))
    }

    /// The answer, after one hop back.
    async fn back<T>(
        &self,
        from: u64,
        to: u64,
        answer: Result<T, PeerError>,
    ) -> Result<T, PeerError> {
        self.ports.clock.sleep(HOP).await;
        if self.open(from, to) { answer } else { Err(unreachable(from)) }
    }

    /// Items that get through, each after one hop; ends where the link is cut.
    fn hop<T: Send + 'static>(
        &self,
        from: u64,
        to: u64,
        items: BoxStream<'static, T>,
    ) -> BoxStream<'static, T> {
        let router = self.clone();
        futures::stream::unfold((router, items), move |(router, mut items)| async move {
            let item = items.next().await?;
            router.ports.clock.sleep(HOP).await;
            router.open(from, to).then_some((item, (router, items)))
        })
        .boxed()
    }
}

fn unreachable(node_id: u64) -> PeerError {
    PeerError::Unreachable { node_id, reason: "the link is cut".to_owned() }
}

struct Transport {
    from: u64,
    router: Router,
}

impl Transport {
    fn call<T: Send + 'static>(
        &self,
        to: u64,
        call: impl AsyncFnOnceBoxed<T>,
    ) -> BoxFuture<'static, Result<T, PeerError>> {
        let (router, from) = (self.router.clone(), self.from);
        async move {
            let raft = router.reach(from, to).await?;
            let answer = call.call(raft).await;
            router.back(to, from, answer).await
        }
        .boxed()
    }
}

/// A closure that asks a node.
trait AsyncFnOnceBoxed<T>: Send + 'static {
    fn call(self, raft: Raft) -> BoxFuture<'static, Result<T, PeerError>>;
}

impl<T, F> AsyncFnOnceBoxed<T> for F
where
    F: FnOnce(Raft) -> BoxFuture<'static, Result<T, PeerError>> + Send + 'static,
{
    fn call(self, raft: Raft) -> BoxFuture<'static, Result<T, PeerError>> {
        self(raft)
    }
}

impl PeerTransport for Transport {
    fn append(
        &self,
        target: &Target,
        requests: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<v1::AppendReply, PeerError>>, PeerError>>
    {
        let (router, from, to) = (self.router.clone(), self.from, target.node_id);
        let single = requests.size_hint().1 == Some(1);
        async move {
            router.count_append(to, single)?;
            let raft = router.reach(from, to).await?;
            let replies = raft.on_append(router.hop(from, to, requests));
            Ok(router.hop(to, from, replies))
        }
        .boxed()
    }

    fn vote(
        &self,
        target: &Target,
        request: v1::VoteRequest,
    ) -> BoxFuture<'static, Result<v1::VoteReply, PeerError>> {
        self.call(target.node_id, move |raft: Raft| {
            async move { raft.on_vote(request).await }.boxed()
        })
    }

    fn snapshot(
        &self,
        target: &Target,
        parts: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'static, Result<v1::SnapshotReply, PeerError>> {
        self.router.lock().snapshot_calls += 1;
        let (clock, delay) = (self.router.ports.clock.clone(), self.router.lock().snapshot_delay);
        let parts = parts.then(move |part| clock.sleep(delay).map(|()| part)).boxed();
        let parts = self.router.hop(self.from, target.node_id, parts);
        self.call(target.node_id, move |raft: Raft| {
            async move { raft.on_snapshot(parts).await }.boxed()
        })
    }

    fn transfer(
        &self,
        target: &Target,
        request: v1::TransferRequest,
    ) -> BoxFuture<'static, Result<v1::TransferReply, PeerError>> {
        self.call(target.node_id, move |raft: Raft| {
            async move { raft.on_transfer(request).await }.boxed()
        })
    }

    fn read_index(
        &self,
        target: &Target,
        request: v1::ReadIndexRequest,
    ) -> BoxFuture<'static, Result<v1::ReadIndexReply, PeerError>> {
        self.router.lock().read_index_calls += 1;
        self.call(target.node_id, move |raft: Raft| {
            async move { raft.on_read_index(request).await }.boxed()
        })
    }

    fn greet(
        &self,
        target: &Target,
        request: v1::GreetRequest,
    ) -> BoxFuture<'static, Result<v1::GreetReply, PeerError>> {
        let (router, from, to) = (self.router.clone(), self.from, target.node_id);
        async move {
            router.ports.clock.sleep(HOP).await;
            let reply = router.reach_greeter(from, to)?.on_greet(&request);
            router.ports.clock.sleep(HOP).await;
            Ok(reply)
        }
        .boxed()
    }

    fn fetch_snapshot(
        &self,
        target: &Target,
        request: v1::FetchSnapshotRequest,
    ) -> BoxFuture<'static, Result<SnapshotParts, PeerError>> {
        let (router, from, to) = (self.router.clone(), self.from, target.node_id);
        async move {
            router.ports.clock.sleep(HOP).await;
            let parts = router.reach_greeter(from, to)?.on_fetch_snapshot(&request)?;
            Ok(router.hop(to, to, parts))
        }
        .boxed()
    }

    fn status(
        &self,
        target: &Target,
        request: v1::StatusRequest,
    ) -> BoxFuture<'static, Result<v1::StatusReply, PeerError>> {
        let tamper = self.router.lock().tampered.get(&(self.from, target.node_id)).cloned();
        self.call(target.node_id, move |raft: Raft| {
            async move {
                let mut status = raft.on_status(request).await?;
                if let Some(tamper) = tamper {
                    tamper(&mut status);
                }
                Ok(status)
            }
            .boxed()
        })
    }
}

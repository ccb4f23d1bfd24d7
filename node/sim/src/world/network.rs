//! Typed messages between simulated nodes: delay, loss, duplication and cut links, per direction.
//!
//! What a node does for a message is done by a task of that node, so it dies with it; whoever
//! asked then hears that the peer is unreachable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_core::ErrorCode;
use conclave_ports::{Clock, Spawn};
use conclave_proto::v1;
use conclave_raft::{PeerError, PeerTransport, Raft, Target};
use futures::future::{BoxFuture, Either};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;

use crate::node::Running;
use crate::request::{Answer, Ask, Refusal};
use crate::world::life::Life;
use crate::world::{Dice, World};

/// Where clients send from. Not a node's id.
pub(crate) const CLIENT: u64 = 0;
/// Messages under way in one stream.
const STREAM_ITEMS_MAX: usize = 256;

/// One direction between two nodes.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) cut: bool,
    pub(crate) loss_permille: u64,
    pub(crate) double_permille: u64,
    pub(crate) delay_us: (u64, u64),
}

impl Link {
    pub(crate) const GOOD: Self =
        Self { cut: false, loss_permille: 0, double_permille: 0, delay_us: (200, 2_000) };
}

/// By sender and receiver; what is absent is good.
pub(crate) type PeerLinks = BTreeMap<(u64, u64), Link>;

/// Whether a request comes from a client, or from the node that the client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serve {
    Client,
    Forwarded,
}

/// Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network {
    world: Arc<World>,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    dice: Dice,
    links: PeerLinks,
    nodes: BTreeMap<u64, Endpoint>,
}

#[derive(Clone)]
struct Endpoint {
    life: Life,
    running: Arc<Running>,
}

impl Network {
    pub(crate) fn new(world: Arc<World>, seed: u64) -> Self {
        let inner =
            Inner { dice: Dice::new(seed, 1), links: BTreeMap::new(), nodes: BTreeMap::new() };
        Self { world, inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn attach(&self, id: u64, life: Life, running: Arc<Running>) {
        self.lock().nodes.insert(id, Endpoint { life, running });
    }

    pub(crate) fn detach(&self, id: u64) {
        self.lock().nodes.remove(&id);
    }

    /// Sets all links; those not named are good.
    pub(crate) fn set_links(&self, links: PeerLinks) {
        self.lock().links = links;
    }

    /// What `from` speaks through.
    pub(crate) fn transport(&self, from: u64, life: Life) -> Arc<dyn PeerTransport> {
        Arc::new(Transport { from, life, network: self.clone() })
    }

    /// A client's request to a node, or a node's to the leader. None: no answer came, and nobody
    /// knows what became of it.
    pub(crate) fn ask(
        &self,
        from: u64,
        to: u64,
        ask: Ask,
        serve: Serve,
    ) -> BoxFuture<'static, Option<Answer>> {
        let network = self.clone();
        async move {
            network.pass(from, to).await.ok()?;
            let endpoint = network.endpoint(to);
            if serve == Serve::Client && endpoint.is_err() {
                return Some(Err(Refusal::new(ErrorCode::Unavailable, "connection refused")));
            }
            let Endpoint { life, running } = endpoint.ok()?;
            let answer = life.run(running.serve(ask, serve)).await?;
            network.pass(to, from).await.ok()?;
            Some(answer)
        }
        .boxed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self, id: u64) -> Result<Endpoint, PeerError> {
        self.lock().nodes.get(&id).cloned().ok_or_else(|| unreachable(id, "it does not run"))
    }

    fn link(&self, from: u64, to: u64) -> Link {
        self.lock().links.get(&(from, to)).cloned().unwrap_or(Link::GOOD)
    }

    /// How long a message takes; nothing where it is lost.
    fn delay(&self, from: u64, to: u64) -> Option<Duration> {
        let link = self.link(from, to);
        if link.cut {
            return None;
        }
        let mut inner = self.lock();
        if inner.dice.chance(link.loss_permille) {
            drop(inner);
            self.world.count(|coverage| coverage.messages_lost += 1);
            return None;
        }
        Some(inner.dice.duration(link.delay_us.0, link.delay_us.1))
    }

    /// A cut link is noticed at once or only after a while, as with real connections.
    fn notice(&self) -> Duration {
        let dice = &mut self.lock().dice;
        if dice.chance(500) { dice.duration(500, 5_000) } else { dice.duration(100_000, 900_000) }
    }

    fn doubles(&self, from: u64, to: u64) -> Option<Duration> {
        let link = self.link(from, to);
        let dice = &mut self.lock().dice;
        dice.chance(link.double_permille).then(|| dice.duration(1_000, 400_000))
    }

    /// One message's way.
    async fn pass(&self, from: u64, to: u64) -> Result<(), PeerError> {
        let Some(delay) = self.delay(from, to) else {
            self.world.clock.sleep(self.notice()).await;
            return Err(unreachable(to, "the message was lost"));
        };
        self.world.clock.sleep(delay).await;
        if self.link(from, to).cut {
            return Err(unreachable(to, "the link was cut"));
        }
        Ok(())
    }

    /// One question and its answer.
    async fn call<T: Send + 'static>(
        self,
        from: u64,
        to: u64,
        may_double: bool,
        handle: impl Fn(Raft) -> BoxFuture<'static, Result<T, PeerError>> + Send,
    ) -> Result<T, PeerError> {
        self.pass(from, to).await?;
        let Endpoint { life, running } = self.endpoint(to)?;
        if may_double && let Some(later) = self.doubles(from, to) {
            self.world.count(|coverage| coverage.messages_doubled += 1);
            let (clock, again) = (self.world.clock.clone(), handle(running.raft.clone()));
            let doubled = async move {
                clock.sleep(later).await;
                drop(again.await);
            };
            life.spawn("doubled message", doubled.boxed());
        }
        let answer = life.run(handle(running.raft.clone())).await;
        drop(running);
        let answer = answer.ok_or_else(|| unreachable(to, "it died"))?;
        self.pass(to, from).await?;
        answer
    }

    /// Sends items one after another; none overtakes another. Ends where one is lost.
    async fn pump<T: Send + 'static>(
        self,
        (from, to): (u64, u64),
        mut items: BoxStream<'static, T>,
        out: mpsc::Sender<(Duration, T)>,
    ) {
        let mut at = Duration::ZERO;
        loop {
            let given_up = std::pin::pin!(out.closed());
            let next = match futures::future::select(items.next(), given_up).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => None,
            };
            let Some(item) = next else { return };
            let Some(delay) = self.delay(from, to) else { return };
            at = at.max(self.world.clock.monotonic() + delay);
            if out.send((at, item)).await.is_err() {
                return;
            }
        }
    }

    /// The other end of [`Self::pump`].
    fn arriving<T: Send + 'static>(
        &self,
        (from, to): (u64, u64),
        items: mpsc::Receiver<(Duration, T)>,
    ) -> impl Stream<Item = T> + Send + 'static {
        let network = self.clone();
        futures::stream::unfold((network, items), move |(network, mut items)| async move {
            let (at, item) = items.recv().await?;
            let now = network.world.clock.monotonic();
            network.world.clock.sleep(at.saturating_sub(now)).await;
            (!network.link(from, to).cut).then_some((item, (network, items)))
        })
    }
}

fn unreachable(node_id: u64, reason: &str) -> PeerError {
    PeerError::Unreachable { node_id, reason: reason.to_owned() }
}

struct Transport {
    from: u64,
    /// Of the sender.
    life: Life,
    network: Network,
}

impl Transport {
    /// Carries a stream to a peer in the background; what arrives there is the result.
    fn carry<T: Send + 'static>(
        &self,
        to: u64,
        items: BoxStream<'static, T>,
    ) -> BoxStream<'static, T> {
        let way = (self.from, to);
        let (sender, receiver) = mpsc::channel(STREAM_ITEMS_MAX);
        self.life.spawn("outgoing stream", self.network.clone().pump(way, items, sender).boxed());
        self.network.arriving(way, receiver).boxed()
    }
}

type AppendReplies = BoxStream<'static, Result<v1::AppendReply, PeerError>>;

impl PeerTransport for Transport {
    fn append(
        &self,
        target: &Target,
        requests: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxFuture<'static, Result<AppendReplies, PeerError>> {
        let (network, from, to) = (self.network.clone(), self.from, target.node_id);
        let requests = self.carry(to, requests);
        async move {
            network.pass(from, to).await?;
            let Endpoint { life, running } = network.endpoint(to)?;
            let (sender, receiver) = mpsc::channel(STREAM_ITEMS_MAX);
            let back = network.clone();
            let serving = async move {
                let replies = running.raft.on_append(requests);
                drop(running);
                back.pump((to, from), replies, sender).await;
            };
            life.spawn("incoming stream", serving.boxed());
            Ok(network.arriving((to, from), receiver).boxed())
        }
        .boxed()
    }

    fn vote(
        &self,
        target: &Target,
        request: v1::VoteRequest,
    ) -> BoxFuture<'static, Result<v1::VoteReply, PeerError>> {
        let handle = move |raft: Raft| async move { raft.on_vote(request).await }.boxed();
        self.network.clone().call(self.from, target.node_id, true, handle).boxed()
    }

    fn snapshot(
        &self,
        target: &Target,
        parts: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'static, Result<v1::SnapshotReply, PeerError>> {
        let (network, from, to) = (self.network.clone(), self.from, target.node_id);
        let parts = self.carry(to, parts);
        async move {
            network.pass(from, to).await?;
            let Endpoint { life, running } = network.endpoint(to)?;
            let raft = running.raft.clone();
            drop(running);
            let taken = life.run(async move { raft.on_snapshot(parts).await }).await;
            let reply = taken.ok_or_else(|| unreachable(to, "it died"))??;
            network.world.count(|coverage| coverage.snapshots_installed += 1);
            network.world.event(format_args!("node {to} took a snapshot of node {from}"));
            network.pass(to, from).await?;
            Ok(reply)
        }
        .boxed()
    }

    fn transfer(
        &self,
        target: &Target,
        request: v1::TransferRequest,
    ) -> BoxFuture<'static, Result<v1::TransferReply, PeerError>> {
        let handle = move |raft: Raft| async move { raft.on_transfer(request).await }.boxed();
        self.network.clone().call(self.from, target.node_id, false, handle).boxed()
    }

    fn read_index(
        &self,
        target: &Target,
        request: v1::ReadIndexRequest,
    ) -> BoxFuture<'static, Result<v1::ReadIndexReply, PeerError>> {
        let handle = move |raft: Raft| async move { raft.on_read_index(request).await }.boxed();
        self.network.clone().call(self.from, target.node_id, true, handle).boxed()
    }

    fn greet(
        &self,
        target: &Target,
        _request: v1::GreetRequest,
    ) -> BoxFuture<'static, Result<v1::GreetReply, PeerError>> {
        let node_id = target.node_id;
        std::future::ready(Err(unreachable(node_id, "CONTRACT STUB"))).boxed()
    }

    fn status(
        &self,
        target: &Target,
        request: v1::StatusRequest,
    ) -> BoxFuture<'static, Result<v1::StatusReply, PeerError>> {
        let handle = move |raft: Raft| async move { raft.on_status(request).await }.boxed();
        self.network.clone().call(self.from, target.node_id, true, handle).boxed()
    }
}

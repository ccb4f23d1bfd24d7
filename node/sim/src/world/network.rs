//! Typed messages between simulated machines: delay, loss, duplication and cut links, per direction.
//!
//! Links lie between machines, messages go to nodes: a machine that came back under another id is
//! not the node that was asked. As on the real peer listener, a node that was removed is refused
//! and one that was never heard of may speak Raft only. What a node does for a message is done by a
//! task of that node, so it dies with it; whoever asked then hears that the peer is unreachable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use conclave_core::ErrorCode;
use conclave_ports::{Clock, Spawn};
use conclave_proto::v1;
use conclave_raft::{Greeter, PeerError, PeerTransport, Raft, RaftStatus, SnapshotParts, Target};
use futures::future::{BoxFuture, Either};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, TryFutureExt};
use tokio::sync::mpsc;

use crate::node::Running;
use crate::request::{Answer, Ask, Refusal};
use crate::world::life::Life;
use crate::world::{Dice, World};

/// Where clients send from. Not a machine's number.
pub(crate) const CLIENT: u64 = 0;
/// Messages under way in one stream.
const STREAM_ITEMS_MAX: usize = 256;

/// One direction between two machines.
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
    /// Processes by machine.
    endpoints: BTreeMap<u64, Endpoint>,
    /// Machines by the ids their nodes have or had.
    machines: BTreeMap<u64, u64>,
}

/// A process that listens.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) life: Life,
    pub(crate) node_id: u64,
    pub(crate) greeter: Greeter,
    /// Empty until it takes part.
    pub(crate) running: Arc<OnceLock<Arc<Running>>>,
}

/// What a message is allowed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Also from a node that this one has not heard of yet.
    Raft,
    Member,
}

impl Network {
    pub(crate) fn new(world: Arc<World>, seed: u64) -> Self {
        let inner = Inner {
            dice: Dice::new(seed, 1),
            links: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            machines: BTreeMap::new(),
        };
        Self { world, inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn attach(&self, machine: u64, endpoint: Endpoint) {
        let mut inner = self.lock();
        inner.machines.insert(endpoint.node_id, machine);
        inner.endpoints.insert(machine, endpoint);
    }

    pub(crate) fn detach(&self, machine: u64) {
        self.lock().endpoints.remove(&machine);
    }

    /// Sets all links; those not named are good.
    pub(crate) fn set_links(&self, links: PeerLinks) {
        self.lock().links = links;
    }

    /// What `from` speaks through.
    pub(crate) fn transport(&self, from: u64, life: Life) -> Arc<dyn PeerTransport> {
        Arc::new(Transport { from, life, network: self.clone() })
    }

    /// A client's request to a machine. None: no answer came, and nobody knows what became of it.
    pub(crate) fn ask(&self, machine: u64, ask: Ask) -> BoxFuture<'static, Option<Answer>> {
        let network = self.clone();
        async move {
            network.pass(CLIENT, machine).await.ok()?;
            let endpoint = network.lock().endpoints.get(&machine).cloned();
            let serving = endpoint.and_then(|it| Some((it.life, it.running.get()?.clone())));
            let Some((life, running)) = serving else {
                return Some(Err(Refusal::new(ErrorCode::Unavailable, "connection refused")));
            };
            let answer = life.run(running.serve(ask, Serve::Client)).await?;
            network.pass(machine, CLIENT).await.ok()?;
            Some(answer)
        }
        .boxed()
    }

    /// A node's request to the leader, as [`Self::ask`].
    pub(crate) fn forward(
        &self,
        from: u64,
        to: u64,
        ask: Ask,
    ) -> BoxFuture<'static, Option<Answer>> {
        let network = self.clone();
        async move {
            let way = network.way(from, to).ok()?;
            network.pass(way.0, way.1).await.ok()?;
            let (life, running) = network.member_asked(from, to, Kind::Member).ok()?;
            let answer = life.run(running.serve(ask, Serve::Forwarded)).await?;
            network.pass(way.1, way.0).await.ok()?;
            Some(answer)
        }
        .boxed()
    }

    /// The newest entry of a node that every other process that takes part remembers, and those
    /// processes; none where fewer than two others do.
    pub(crate) fn remembered_by_all(&self, node_id: u64) -> Option<(u64, Vec<Life>)> {
        let inner = self.lock();
        let others = inner.endpoints.values().filter(|endpoint| endpoint.node_id != node_id);
        let others: Vec<_> = others.filter(|endpoint| endpoint.running.get().is_some()).collect();
        let seen = others.iter().filter_map(|it| it.running.get()).map(|running| {
            let durable = running.seen.of(node_id).and_then(|seen| seen.durable);
            durable.map_or(0, |id| id.index)
        });
        let lives = others.iter().map(|endpoint| endpoint.life.clone()).collect();
        if others.len() < 2 { None } else { Some((seen.min()?, lives)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machines of two nodes.
    fn way(&self, from: u64, to: u64) -> Result<(u64, u64), PeerError> {
        let inner = self.lock();
        let machine = |id| inner.machines.get(id).copied();
        let way = machine(&from).zip(machine(&to));
        way.ok_or_else(|| unreachable(to, "nobody knows where it is"))
    }

    /// The process of a node, if its machine runs it.
    fn endpoint(&self, node_id: u64) -> Result<Endpoint, PeerError> {
        let inner = self.lock();
        let endpoint = inner.machines.get(&node_id).and_then(|at| inner.endpoints.get(at));
        let endpoint = endpoint.filter(|endpoint| endpoint.node_id == node_id).cloned();
        endpoint.ok_or_else(|| unreachable(node_id, "it does not run"))
    }

    /// A node that takes part and lets `from` speak.
    fn member_asked(
        &self,
        from: u64,
        to: u64,
        kind: Kind,
    ) -> Result<(Life, Arc<Running>), PeerError> {
        let Endpoint { life, running, .. } = self.endpoint(to)?;
        let running = running.get().ok_or_else(|| refusal(to, "it is starting"))?.clone();
        if !may_speak(&running.raft.status(), from, kind) {
            return Err(refusal(to, "it does not know the caller"));
        }
        Ok((life, running))
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
        (from, to): (u64, u64),
        (kind, may_double): (Kind, bool),
        handle: impl Fn(Raft) -> BoxFuture<'static, Result<T, PeerError>> + Send,
    ) -> Result<T, PeerError> {
        let way = self.way(from, to)?;
        self.pass(way.0, way.1).await?;
        let (life, running) = self.member_asked(from, to, kind)?;
        if may_double && let Some(later) = self.doubles(way.0, way.1) {
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
        self.pass(way.1, way.0).await?;
        answer
    }

    /// Tells a node that may still be starting what another one has on disk.
    async fn greet(
        self,
        (from, to): (u64, u64),
        request: v1::GreetRequest,
    ) -> Result<v1::GreetReply, PeerError> {
        let way = self.way(from, to)?;
        self.pass(way.0, way.1).await?;
        let Endpoint { life, greeter, .. } = self.endpoint(to)?;
        let answer = life.run(async move { greeter.on_greet(&request) }).await;
        let answer = answer.ok_or_else(|| unreachable(to, "it died"))?;
        self.world.count(|coverage| coverage.greetings += 1);
        self.pass(way.1, way.0).await?;
        Ok(answer)
    }

    /// A stream that broke may look alive for long.
    fn hang(&self) -> Duration {
        let dice = &mut self.lock().dice;
        if dice.chance(500) { Duration::ZERO } else { dice.duration(1_000_000, 4_000_000) }
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
            let Some(delay) = self.delay(from, to) else {
                let hanging = self.world.clock.sleep(self.hang());
                futures::future::select(hanging, std::pin::pin!(out.closed())).await;
                return;
            };
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
            if network.link(from, to).cut {
                network.world.clock.sleep(network.hang()).await;
                return None;
            }
            Some((item, (network, items)))
        })
    }
}

fn unreachable(node_id: u64, reason: &str) -> PeerError {
    PeerError::Unreachable { node_id, reason: reason.to_owned() }
}

fn refusal(node_id: u64, reason: &str) -> PeerError {
    PeerError::Refused { node_id, reason: reason.to_owned() }
}

/// Ids are log indexes: one up to the membership in force that is not in it was removed.
fn may_speak(status: &RaftStatus, from: u64, kind: Kind) -> bool {
    let is_member = status.members.iter().any(|view| view.member.node_id == from);
    is_member || (kind == Kind::Raft && from > status.membership_index)
}

struct Transport {
    from: u64,
    /// Of the sender.
    life: Life,
    network: Network,
}

impl Transport {
    fn way(&self, target: &Target) -> (u64, u64) {
        (self.from, target.node_id)
    }

    /// Carries a stream to a peer in the background; what arrives there is the result.
    fn carry<T: Send + 'static>(
        &self,
        to: u64,
        items: BoxStream<'static, T>,
    ) -> BoxStream<'static, T> {
        let Ok(way) = self.network.way(self.from, to) else {
            return futures::stream::empty().boxed();
        };
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
            let way = network.way(from, to)?;
            network.pass(way.0, way.1).await?;
            let (life, running) = network.member_asked(from, to, Kind::Raft)?;
            let (sender, receiver) = mpsc::channel(STREAM_ITEMS_MAX);
            let back = network.clone();
            let requests = running.receiving(requests);
            let serving = async move {
                let replies = running.raft.on_append(requests);
                drop(running);
                back.pump((way.1, way.0), replies, sender).await;
            };
            life.spawn("incoming stream", serving.boxed());
            Ok(network.arriving((way.1, way.0), receiver).boxed())
        }
        .boxed()
    }

    fn vote(
        &self,
        target: &Target,
        request: v1::VoteRequest,
    ) -> BoxFuture<'static, Result<v1::VoteReply, PeerError>> {
        let handle = move |raft: Raft| async move { raft.on_vote(request).await }.boxed();
        self.network.clone().call(self.way(target), (Kind::Raft, true), handle).boxed()
    }

    fn snapshot(
        &self,
        target: &Target,
        parts: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'static, Result<v1::SnapshotReply, PeerError>> {
        let (network, from, to) = (self.network.clone(), self.from, target.node_id);
        let parts = self.carry(to, parts);
        async move {
            let way = network.way(from, to)?;
            network.pass(way.0, way.1).await?;
            let (life, running) = network.member_asked(from, to, Kind::Raft)?;
            let raft = running.raft.clone();
            drop(running);
            let taken = life.run(async move { raft.on_snapshot(parts).await }).await;
            let reply = taken.ok_or_else(|| unreachable(to, "it died"))??;
            network.world.count(|coverage| coverage.snapshots_installed += 1);
            network.world.event(format_args!("node {to} took a snapshot of node {from}"));
            network.pass(way.1, way.0).await?;
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
        self.network.clone().call(self.way(target), (Kind::Raft, false), handle).boxed()
    }

    fn read_index(
        &self,
        target: &Target,
        request: v1::ReadIndexRequest,
    ) -> BoxFuture<'static, Result<v1::ReadIndexReply, PeerError>> {
        let handle = move |raft: Raft| async move { raft.on_read_index(request).await }.boxed();
        self.network.clone().call(self.way(target), (Kind::Member, true), handle).boxed()
    }

    fn greet(
        &self,
        target: &Target,
        request: v1::GreetRequest,
    ) -> BoxFuture<'static, Result<v1::GreetReply, PeerError>> {
        self.network.clone().greet(self.way(target), request).boxed()
    }

    fn fetch_snapshot(
        &self,
        target: &Target,
        request: v1::FetchSnapshotRequest,
    ) -> BoxFuture<'static, Result<SnapshotParts, PeerError>> {
        let (network, (from, to)) = (self.network.clone(), self.way(target));
        async move {
            let way = network.way(from, to)?;
            network.pass(way.0, way.1).await?;
            let Endpoint { life, greeter, running, .. } = network.endpoint(to)?;
            let asked = life.run(async move {
                let parts = greeter.on_fetch_snapshot(&request);
                if parts.is_err()
                    && greeter.owes_snapshot(&request)
                    && let Some(running) = running.get()
                {
                    // The member asks again.
                    running.raft.trigger_snapshot().await;
                }
                parts
            });
            let asked = asked.await;
            let parts = asked.ok_or_else(|| unreachable(to, "it died"))??;
            network.world.count(|coverage| coverage.snapshots_fetched += 1);
            let (sender, receiver) = mpsc::channel(STREAM_ITEMS_MAX);
            let back = (way.1, way.0);
            life.spawn("outgoing snapshot", network.clone().pump(back, parts, sender).boxed());
            Ok(network.arriving(back, receiver).boxed())
        }
        .boxed()
    }

    fn status(
        &self,
        target: &Target,
        request: v1::StatusRequest,
    ) -> BoxFuture<'static, Result<v1::StatusReply, PeerError>> {
        let handle = move |raft: Raft| async move { raft.on_status(request).await }.boxed();
        let asked = self.network.clone().call(self.way(target), (Kind::Member, true), handle);
        let world = self.network.world.clone();
        let compares = request.hash_index > 0;
        asked
            .inspect_ok(move |reply| {
                if compares && !reply.state_hash.is_empty() {
                    world.count(|coverage| coverage.hash_comparisons += 1);
                }
            })
            .boxed()
    }
}

//! Which nodes there are, which one leads, and which one to ask next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use conclave_proto::v1::operator_client::OperatorClient;
use conclave_proto::v1::{NodeStatusRequest, NodeStatusResponse};
use tokio::sync::Notify;
use tonic::transport::Channel;

use crate::address::Address;
use crate::config::Config;
use crate::error::Error;
use crate::retry::Failure;
use crate::runtime;
use crate::tls::Dialer;

/// Whom a call is for.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// The leader where it is known, else any node.
    Leader,
    /// Each node in turn.
    Any,
    /// This node and no other.
    Node(Address),
}

/// A node to ask, and the way to it.
pub(crate) struct Choice {
    pub(crate) address: Address,
    pub(crate) channel: Channel,
}

/// What the client knows of the cluster.
pub(crate) struct Cluster {
    dialer: Dialer,
    overrides: BTreeMap<Address, Address>,
    connections_per_node: usize,
    /// Whether one of the given addresses is without TLS.
    plain: bool,
    state: Mutex<State>,
    /// Wakes the discovery task.
    wanted: Arc<Notify>,
}

struct State {
    nodes: BTreeMap<Address, Node>,
    leader: Option<Address>,
    turn: usize,
}

struct Node {
    channels: Vec<Channel>,
    turn: usize,
    /// Named in the configuration: never dropped.
    configured: bool,
    /// It failed, and others are preferred until then.
    suspect_until: Option<Instant>,
}

impl Cluster {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut overrides = BTreeMap::new();
        for (told, used) in &config.address_overrides {
            overrides.insert(told.parse()?, used.parse()?);
        }
        let addresses = config.addresses.iter().map(|text| text.parse());
        let addresses: Vec<Address> = addresses.collect::<Result<_, _>>()?;
        let cluster = Self {
            plain: addresses.iter().any(Address::is_plain),
            dialer: Dialer::new(config)?,
            overrides,
            connections_per_node: config.connections_per_node.clamp(1, CONNECTIONS_PER_NODE_MAX),
            state: Mutex::new(State { nodes: BTreeMap::new(), leader: None, turn: 0 }),
            wanted: Arc::new(Notify::new()),
        };
        for address in addresses {
            let node = cluster.node(&address, true)?;
            cluster.lock().nodes.insert(address, node);
        }
        if cluster.lock().nodes.is_empty() {
            let message = "no address is given; give the https:// URL of at least one node".into();
            return Err(Error::Config { message });
        }
        Ok(cluster)
    }

    /// How many nodes are known.
    pub(crate) fn node_count(&self) -> usize {
        self.lock().nodes.len()
    }

    /// The addresses in use, and the leader's.
    pub(crate) fn addresses(&self) -> (Vec<Address>, Option<Address>) {
        let state = self.lock();
        (state.nodes.keys().cloned().collect(), state.leader.clone())
    }

    /// The node to ask next.
    pub(crate) fn choose(&self, route: &Route, now: Instant) -> Result<Choice, Error> {
        if let Route::Node(address) = route {
            return self.explicit(address);
        }
        let mut state = self.lock();
        let leader = match route {
            Route::Leader => state.leader.clone().filter(|leader| state.is_sound(leader, now)),
            Route::Any | Route::Node(_) => None,
        };
        let address = leader.unwrap_or_else(|| state.next_in_turn(now));
        let node = state.nodes.get_mut(&address).expect("it was just chosen among them");
        Ok(Choice { channel: node.channel(), address })
    }

    fn explicit(&self, address: &Address) -> Result<Choice, Error> {
        let known = self.lock().nodes.get_mut(address).map(Node::channel);
        let channel = match known {
            Some(channel) => channel,
            None => self.dialer.channel(address)?,
        };
        Ok(Choice { address: address.clone(), channel })
    }

    /// Notes that a node answered.
    pub(crate) fn succeeded(&self, address: &Address) {
        if let Some(node) = self.lock().nodes.get_mut(address) {
            node.suspect_until = None;
        }
    }

    /// Notes that a node failed, so that the next choice falls on another.
    pub(crate) fn failed(&self, address: &Address, failure: &Failure, now: Instant) {
        if failure.is_of_topology() {
            self.lock().leader.take_if(|leader| leader == address);
            self.wanted.notify_one();
        }
        if failure.is_of_node() {
            self.suspect(address, now);
        }
    }

    fn suspect(&self, address: &Address, now: Instant) {
        if let Some(node) = self.lock().nodes.get_mut(address) {
            node.suspect_until = Some(now + SUSPECT_FOR);
        }
    }

    /// Asks the nodes for leader and members. The answer of the latest term counts; a leader's own
    /// word ends the round.
    pub(crate) async fn refresh(&self) {
        let mut best: Option<NodeStatusResponse> = None;
        for Choice { address, channel } in self.round(runtime::now()) {
            let Some(status) = ask_status(channel).await else {
                self.suspect(&address, runtime::now());
                continue;
            };
            self.succeeded(&address);
            let leads = status.leader_id != 0 && status.leader_id == status.node_id;
            let newer = best.as_ref().is_none_or(|best| status.rank() > best.rank());
            if newer {
                best = Some(status);
            }
            if leads {
                break;
            }
        }
        if let Some(status) = best {
            self.learn(&status);
        }
    }

    /// Whom to ask: the supposed leader first, suspects only if there is nobody else.
    fn round(&self, now: Instant) -> Vec<Choice> {
        let mut state = self.lock();
        let leader = state.leader.clone();
        let sound = state.nodes.keys().filter(|node| state.is_sound(node, now)).cloned();
        let mut addresses: Vec<Address> = sound.collect();
        if addresses.is_empty() {
            addresses = state.nodes.keys().cloned().collect();
        }
        addresses.sort_by_key(|address| Some(address) != leader.as_ref());
        let mut choice = |address: Address| {
            let node = state.nodes.get_mut(&address)?;
            Some(Choice { channel: node.channel(), address })
        };
        addresses.into_iter().filter_map(&mut choice).collect()
    }

    fn learn(&self, status: &NodeStatusResponse) {
        let members: BTreeSet<Address> =
            status.member_api_addrs.iter().filter_map(|text| self.told(text)).collect();
        let leader = self.told(&status.leader_api_addr);
        let mut found = Vec::new();
        for address in members.iter().chain(&leader).take(NODES_MAX) {
            let known = self.lock().nodes.contains_key(address);
            if !known && let Ok(node) = self.node(address, false) {
                found.push((address.clone(), node));
            }
        }
        let mut state = self.lock();
        for (address, node) in found {
            state.nodes.entry(address).or_insert(node);
        }
        if !members.is_empty() {
            state.nodes.retain(|address, node| {
                node.configured || members.contains(address) || Some(address) == leader.as_ref()
            });
        }
        state.leader = leader.filter(|leader| state.nodes.contains_key(leader));
    }

    /// The address to use for one that the cluster told. Nobody who was given addresses with TLS is
    /// told to do without.
    fn told(&self, text: &str) -> Option<Address> {
        let told: Address = (!text.is_empty()).then(|| text.parse().ok())??;
        let address = self.overrides.get(&told).cloned().unwrap_or(told);
        (self.plain || !address.is_plain()).then_some(address)
    }

    fn node(&self, address: &Address, configured: bool) -> Result<Node, Error> {
        let channels = (0..self.connections_per_node).map(|_| self.dialer.channel(address));
        let channels = channels.collect::<Result<_, _>>()?;
        Ok(Node { channels, turn: 0, configured, suspect_until: None })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the lock is held")
    }

    /// Follows the cluster in the background until the last owner is gone.
    pub(crate) fn follow(self: &Arc<Self>) {
        let cluster = Arc::downgrade(self);
        let wanted = self.wanted.clone();
        runtime::spawn(async move {
            loop {
                runtime::within(DISCOVERY_INTERVAL, wanted.notified()).await;
                let Some(cluster) = cluster.upgrade() else { return };
                cluster.refresh().await;
                drop(cluster);
                runtime::sleep(DISCOVERY_PAUSE).await;
            }
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The discovery task looks up, finds nobody, and ends.
        self.wanted.notify_one();
    }
}

impl State {
    fn is_sound(&self, address: &Address, now: Instant) -> bool {
        let node = self.nodes.get(address);
        node.is_some_and(|node| node.suspect_until.is_none_or(|until| until <= now))
    }

    /// The next sound node in turn, else the one that has been suspect for longest.
    fn next_in_turn(&mut self, now: Instant) -> Address {
        self.turn = self.turn.wrapping_add(1);
        let sound: Vec<&Address> = self.nodes.keys().filter(|n| self.is_sound(n, now)).collect();
        if !sound.is_empty() {
            return sound[self.turn % sound.len()].clone();
        }
        let oldest = self.nodes.iter().min_by_key(|(_, node)| node.suspect_until);
        oldest.map(|(address, _)| address.clone()).expect("a client has at least one address")
    }
}

impl Node {
    fn channel(&mut self) -> Channel {
        self.turn = (self.turn + 1) % self.channels.len();
        self.channels[self.turn].clone()
    }
}

async fn ask_status(channel: Channel) -> Option<NodeStatusResponse> {
    let mut client = OperatorClient::new(channel);
    let answer = runtime::within(STATUS_TIMEOUT, client.status(NodeStatusRequest {})).await?;
    answer.ok().map(tonic::Response::into_inner)
}

/// The order in which statuses are believed: a known leader, then the later term.
trait Rank {
    fn rank(&self) -> (bool, u64);
}

impl Rank for NodeStatusResponse {
    fn rank(&self) -> (bool, u64) {
        (!self.leader_api_addr.is_empty(), self.term)
    }
}

/// A node that failed is left alone this long, while there are others.
const SUSPECT_FOR: Duration = Duration::from_secs(1);
/// A node that does not answer discovery by then is passed over.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// A leader that moved without an error is noticed by then.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(5);
/// Between two rounds, however many requests fail meanwhile.
const DISCOVERY_PAUSE: Duration = Duration::from_millis(50);
/// More connections to a node than this only cost.
const CONNECTIONS_PER_NODE_MAX: usize = 64;
/// A cluster that claims more members is not believed.
const NODES_MAX: usize = 64;

//! Three nodes, from their first start to the last look at them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use conclave_barrier::{NewBarrier, NewRecipient, SealKey};
use conclave_core::Core;
use conclave_memory::SecretKey;
use conclave_ports::Clock;
use conclave_proto::v1;
use conclave_raft::{AddMember, Readiness};
use futures::future::Either;

use crate::Plant;
use crate::invariants::{Replicas, Violation};
use crate::node::{CLUSTER_ID, Keys, POLL, Running, SimNode};
use crate::workload::SharedHistory;
use crate::world::{Network, World};

const NODES: u64 = 3;
/// Forming a cluster on good links takes no longer.
const FORM_MAX: Duration = Duration::from_secs(30);
/// From the last fault until all nodes agree.
pub(crate) const HEAL_MAX: Duration = Duration::from_secs(60);
const LIVENESS: &str = "all heals in bounded time";
/// Read at once when logs are compared.
const COMPARE_BYTES_MAX: usize = 1 << 20;

/// A cluster under test.
pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Arc<SimNode>>,
    pub(crate) history: SharedHistory,
    keys: Arc<OnceLock<Keys>>,
    watch: Mutex<Watch>,
}

/// What was seen of the nodes at earlier steps.
#[derive(Default)]
struct Watch {
    replicas: Replicas,
    nodes: BTreeMap<u64, Seen>,
}

#[derive(Default, Clone, PartialEq)]
struct Seen {
    /// The last entry that was compared with the peers'.
    compared: v1::LogId,
    purged: u64,
    applied: u64,
}

impl Cluster {
    /// Machines without a cluster.
    pub(crate) fn new(world: Arc<World>, seed: u64, plant: Option<Plant>) -> Self {
        let network = Network::new(world.clone(), seed);
        let keys = Arc::new(OnceLock::new());
        let nodes = (1..=NODES)
            .map(|id| SimNode::new(id, seed, (&world, &network), &keys, plant))
            .collect();
        Self { world, network, nodes, history: Mutex::default(), keys, watch: Mutex::default() }
    }

    /// Makes a cluster of all machines, unsealed.
    pub(crate) async fn form(&self) -> Result<(), Violation> {
        let failed = |what: String| Violation::new("a cluster forms", what);
        for node in &self.nodes {
            node.write_identity();
            node.start().await;
        }
        let founded = self.nodes[0].with(found).await;
        let keys = founded.unwrap_or(Err("node 1 died".to_owned())).map_err(failed)?;
        drop(self.keys.set(keys));
        for node in &self.nodes[1..] {
            let add = AddMember { member: member(node.id), voter: true };
            let added = self.nodes[0].with(|first| async move {
                first.raft.add_member(add).await.map_err(|error| error.to_string())
            });
            added.await.unwrap_or(Err("node 1 died".to_owned())).map_err(failed)?;
        }
        let formed = self.eventually(FORM_MAX, || self.is_whole()).await;
        if formed { Ok(()) } else { Err(failed(self.describe())) }
    }

    /// Whether the run is to go on: nothing was violated yet.
    pub(crate) fn goes_on(&self) -> bool {
        self.world.violation().is_none()
    }

    /// The root token.
    pub(crate) fn token(&self) -> String {
        self.keys.get().map(|keys| keys.token.clone()).unwrap_or_default()
    }

    /// The node that most believe to lead.
    pub(crate) fn leader(&self) -> Option<Arc<SimNode>> {
        let leading = self.nodes.iter().filter_map(|node| {
            let status = node.running()?.raft.status();
            status.is_leader.then_some((status.term, node))
        });
        leading.max_by_key(|(term, _)| *term).map(|(_, node)| node.clone())
    }

    /// Runs `future` for at most so long.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let future = std::pin::pin!(future);
        match futures::future::select(future, self.world.clock.sleep(limit)).await {
            Either::Left((value, _)) => Some(value),
            Either::Right(_) => None,
        }
    }

    /// Ends all faults and waits until the cluster is as if there had been none.
    pub(crate) async fn heal(&self) {
        self.network.set_links(BTreeMap::new());
        for node in &self.nodes {
            // Where no two clocks agree, a cluster that lost its power writes nothing, rightly.
            node.set_clock_right();
            node.start().await;
            if let Some(running) = node.running() {
                running.allow_unseal();
            }
        }
        if self.has_lost_its_quorum() {
            return;
        }
        if !self.eventually(HEAL_MAX, || self.is_whole()).await && self.goes_on() {
            self.world.report(Violation::new(LIVENESS, self.describe()));
        }
    }

    /// Nodes that serve: all, except those whose disk was refused.
    pub(crate) fn serving(&self) -> impl Iterator<Item = (&SimNode, Arc<Running>)> {
        self.nodes.iter().filter_map(|node| Some((&**node, node.running()?)))
    }

    /// Whether so many disks were refused (with a planted bug) that nobody can serve.
    pub(crate) fn has_lost_its_quorum(&self) -> bool {
        let refused = self.nodes.iter().filter(|node| node.was_refused()).count();
        refused * 2 >= self.nodes.len()
    }

    /// Whether one leads, and all have applied the same and are unsealed.
    pub(crate) fn is_whole(&self) -> bool {
        let serving: Vec<_> = self.serving().map(|(_, running)| running).collect();
        let expected = self.nodes.iter().filter(|node| !node.was_refused()).count();
        let statuses: Vec<_> = serving.iter().map(|running| running.raft.status()).collect();
        let Some(leader) = statuses.iter().find(|status| status.is_leader) else { return false };
        let voters = leader.members.iter().filter(|member| member.voter).count();
        let hashes: Vec<_> = serving
            .iter()
            .map(|running| running.state.applied())
            .map(|applied| (applied.log_id, applied.state_hash))
            .collect();
        serving.len() == expected
            && voters == self.nodes.len()
            && serving.iter().all(|running| running.core().is_some())
            && statuses.iter().all(|status| status.leader_id == Some(leader.node_id))
            && statuses.iter().all(|status| status.term == leader.term)
            && hashes.iter().all(|hash| *hash == hashes[0])
            && hashes[0].0.is_some_and(|id| id.index == leader.last_log_index)
    }

    /// Looks at every node: the invariants that concern nodes.
    pub(crate) fn observe(&self) {
        let mut watch = self.watch();
        for (node, running) in self.serving() {
            if let Err(violation) = self.observe_node(&mut watch, node.id, &running) {
                drop(watch);
                return self.world.report(violation);
            }
        }
    }

    fn observe_node(&self, watch: &mut Watch, id: u64, running: &Running) -> Result<(), Violation> {
        let status = running.raft.status();
        if status.quarantined {
            return Err(Violation::new("no replica stands alone", format!("node {id}")));
        }
        if let Some(fatal) = status.fatal {
            return Err(Violation::new(
                "consensus does not end by itself",
                format!("{id}: {fatal}"),
            ));
        }
        let leader = if status.is_leader { Some(id) } else { status.leader_id };
        if let Some(leader) = leader
            && watch.replicas.leads(status.term, leader)?
        {
            self.world.event(format_args!("node {leader} leads term {}", status.term));
            self.world.count(|coverage| coverage.elections += 1);
        }
        let applied = running.state.applied();
        if let Some(log_id) = applied.log_id {
            watch.replicas.applied(id, log_id, applied.state_hash)?;
            let seen = watch.nodes.entry(id).or_default();
            if seen.applied != log_id.index {
                seen.applied = log_id.index;
                self.world.event(format_args!("node {id} has applied {}", log_id.index));
            }
        }
        self.compare_log(watch, id, running)
    }

    /// Compares what was appended since the last look.
    fn compare_log(&self, watch: &mut Watch, id: u64, running: &Running) -> Result<(), Violation> {
        let ends = running.log.state();
        let last = ends.last.unwrap_or_default();
        let purged = ends.purged.unwrap_or_default();
        let seen = watch.nodes.entry(id).or_default();
        if purged.index > seen.purged {
            seen.purged = purged.index;
            self.world.count(|coverage| coverage.purges += 1);
            self.world.event(format_args!("node {id} purged its log up to {}", purged.index));
        }
        if last == seen.compared {
            return Ok(());
        }
        let (from, before) = continue_from(seen.compared, last, purged, running)?;
        let mut before = before;
        for entry in read(running, from, last.index)? {
            watch.replicas.holds_entry(id, before, &entry)?;
            before = entry.id.map(|id| id.term);
        }
        watch.nodes.entry(id).or_default().compared = last;
        Ok(())
    }

    /// Polls until `seen`.
    async fn eventually(&self, limit: Duration, seen: impl Fn() -> bool) -> bool {
        let end = self.world.clock.elapsed() + limit;
        while self.world.clock.elapsed() < end && self.goes_on() {
            if seen() {
                return true;
            }
            self.world.clock.sleep(POLL).await;
            self.observe();
        }
        false
    }

    fn describe(&self) -> String {
        let describe = |(node, running): (&SimNode, Arc<Running>)| {
            let status = running.raft.status();
            format!(
                "node {}: term {}, leader {:?}, last {}, committed {}, applied {}, sealed {}",
                node.id,
                status.term,
                status.leader_id,
                status.last_log_index,
                status.committed_index,
                status.applied_index,
                running.core().is_none()
            )
        };
        self.serving().map(describe).collect::<Vec<_>>().join("; ")
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first entry to compare, and the term of the one before it. A log that was cut back is
/// compared again from where it begins.
fn continue_from(
    compared: v1::LogId,
    last: v1::LogId,
    purged: v1::LogId,
    running: &Running,
) -> Result<(u64, Option<u64>), Violation> {
    if compared.index > purged.index && compared.index <= last.index {
        let there = read(running, compared.index, compared.index)?;
        if there.first().and_then(|entry| entry.id) == Some(compared) {
            return Ok((compared.index + 1, Some(compared.term)));
        }
    }
    Ok((purged.index + 1, (purged.index > 0).then_some(purged.term)))
}

fn read(running: &Running, from: u64, last: u64) -> Result<Vec<v1::Entry>, Violation> {
    let mut entries = Vec::new();
    let mut next = from;
    while next <= last {
        let found = running.log.read(next..last + 1, COMPARE_BYTES_MAX).map_err(|error| {
            Violation::new("what was synced is read back", format!("{}: {error}", running.node_id))
        })?;
        if found.is_empty() {
            break;
        }
        next += found.len() as u64;
        entries.extend(found);
    }
    Ok(entries)
}

fn member(node_id: u64) -> v1::Member {
    v1::Member {
        node_id,
        name: format!("node-{node_id}"),
        cluster_addr: format!("node-{node_id}:8201"),
        api_addr: format!("https://node-{node_id}:8200"),
        spki_pin: vec![u8::try_from(node_id).unwrap_or(u8::MAX); 32].into(),
        voter_wanted: true,
        approved: true,
    }
}

/// What `sys/init` does.
async fn found(running: Arc<Running>) -> Result<Keys, String> {
    let raft = running.raft.clone();
    raft.bootstrap(member(running.node_id)).await.map_err(|error| error.to_string())?;
    raft.set_readiness(Readiness::Ready);
    while !raft.status().is_leader {
        raft.changed().await;
    }
    let ports = running.ports.clone();
    let recipient = NewRecipient {
        kind: "static".to_owned(),
        shares: 0,
        threshold: 0,
        key: SealKey::new(SecretKey::fill_with(|key| ports.rng.fill(key))),
    };
    let new = NewBarrier::make(
        running.ledger.clone(),
        ports.clone(),
        CLUSTER_ID,
        "simulated",
        vec![recipient],
    )
    .map_err(|error| error.to_string())?;
    let made = Core::initialise(new, &ports, Vec::new()).await;
    let (barrier, token) = made.map_err(|error| error.to_string())?;
    let root_key = *barrier.root_key().danger_expose();
    running.serve_with(barrier).map_err(|error| error.to_string())?;
    Ok(Keys { root_key, token: token.to_string() })
}

//! A cluster, from its first start to the last look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use conclave_barrier::{NewBarrier, NewRecipient, SealKey};
use conclave_core::{Core, Operation};
use conclave_memory::SecretKey;
use conclave_ports::Clock;
use conclave_proto::v1;
use conclave_raft::Readiness;
use futures::future::Either;

use crate::Plant;
use crate::invariants::Violation;
use crate::node::{CLUSTER_ID, Keys, Machine, POLL, Running, Standing, lock};
use crate::request::Ask;
use crate::workload::SharedHistory;
use crate::world::{Network, World};

mod members;
mod watch;

use watch::Watch;

/// Half of them form the cluster, the others may join it.
const MACHINES: u64 = 6;
/// Of a cluster that was formed.
pub(crate) const MEMBERS: u64 = 3;
/// Forming a cluster on good links takes no longer.
const FORM_MAX: Duration = Duration::from_secs(30);
/// From the last fault until all nodes agree.
pub(crate) const HEAL_MAX: Duration = Duration::from_secs(60);
pub(crate) const LIVENESS: &str = "all heals in bounded time";

/// A cluster under test.
pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) network: Network,
    pub(crate) history: SharedHistory,
    pub(crate) plant: Option<Plant>,
    pub(crate) machines: Vec<Arc<Machine>>,
    /// Held by whoever changes who belongs to the cluster, or takes a member's disk away for good:
    /// one such thing at a time, so that no quorum is lost by the faults themselves.
    pub(crate) surgery: tokio::sync::Mutex<()>,
    /// Machines whose nodes are to be voters.
    wanted: Mutex<BTreeSet<u64>>,
    keys: Arc<OnceLock<Keys>>,
    watch: Mutex<Watch>,
}

impl Cluster {
    /// Machines without a cluster.
    pub(crate) fn new(world: Arc<World>, seed: u64, plant: Option<Plant>) -> Self {
        let network = Network::new(world.clone(), seed);
        let keys = Arc::new(OnceLock::new());
        let machines = (1..=MACHINES)
            .map(|number| Machine::new(number, seed, (&world, &network), &keys, plant))
            .collect();
        Self {
            world,
            network,
            history: Mutex::default(),
            plant,
            machines,
            surgery: tokio::sync::Mutex::new(()),
            wanted: Mutex::new((1..=MEMBERS).collect()),
            keys,
            watch: Mutex::default(),
        }
    }

    /// Makes a cluster of the first machines, unsealed.
    pub(crate) async fn form(&self) -> Result<(), Violation> {
        let failed = |what: String| Violation::new("a cluster forms", what);
        let founder = &self.machines[0];
        founder.become_node(1, None);
        founder.start();
        if !self.eventually(FORM_MAX, || founder.running().is_some()).await {
            return Err(failed("the founder does not start".to_owned()));
        }
        let member = founder.member(1);
        let founded = founder.with(|running| found(running, member)).await;
        let keys = founded.unwrap_or(Err("the founder died".to_owned())).map_err(failed)?;
        drop(self.keys.set(keys));
        for machine in self.members().iter().skip(1) {
            self.admit(machine).await.map_err(failed)?;
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

    /// The machines that belong to the cluster, or are to.
    pub(crate) fn members(&self) -> Vec<Arc<Machine>> {
        let wanted = lock(&self.wanted);
        self.machines.iter().filter(|machine| wanted.contains(&machine.number)).cloned().collect()
    }

    /// The machines that do not.
    pub(crate) fn spares(&self) -> Vec<Arc<Machine>> {
        let wanted = lock(&self.wanted);
        self.machines.iter().filter(|machine| !wanted.contains(&machine.number)).cloned().collect()
    }

    /// The node that most believe to lead.
    pub(crate) fn leader(&self) -> Option<Arc<Machine>> {
        let leading = self.machines.iter().filter_map(|machine| {
            let status = machine.running()?.raft.status();
            status.is_leader.then_some((status.term, machine))
        });
        leading.max_by_key(|(term, _)| *term).map(|(_, machine)| machine.clone())
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
        self.world.power.disarm();
        self.network.set_links(BTreeMap::new());
        for machine in &self.machines {
            machine.heal();
        }
        self.keep_started();
        if self.has_lost_its_quorum() {
            return;
        }
        if !self.becomes_whole().await && self.goes_on() {
            self.world.report(Violation::new(LIVENESS, self.describe()));
        }
    }

    /// A member that ended by itself is started again, and none stays sealed. Who is to go runs
    /// until it votes no more: an operator who switches it off before takes a vote from the others.
    fn keep_started(&self) {
        for machine in self.members() {
            machine.start();
            if let Some(running) = machine.running() {
                running.allow_unseal();
            }
        }
        for machine in self.spares() {
            if self.votes(&machine) { machine.start() } else { machine.retire() }
        }
    }

    /// Whether any member that runs counts it among the voters.
    fn votes(&self, machine: &Machine) -> bool {
        let Some(node_id) = machine.node_id() else { return false };
        let members = self.members();
        let mut running = members.iter().filter_map(|member| member.running());
        running.any(|it| {
            let members = it.raft.status().members;
            members.iter().any(|view| view.voter && view.member.node_id == node_id)
        })
    }

    async fn becomes_whole(&self) -> bool {
        let end = self.world.clock.elapsed() + HEAL_MAX;
        while self.world.clock.elapsed() < end && self.goes_on() {
            if self.is_whole() {
                // Who was removed meanwhile may go.
                self.keep_started();
                return true;
            }
            if self.world.clock.elapsed() + HEAL_MAX / 2 > end {
                self.give_up_the_silent();
            }
            self.keep_started();
            let mended = self.plant == Some(Plant::SkippedFsync) || self.mend_step().await;
            let pause = if mended { POLL } else { POLL * 10 };
            self.world.clock.sleep(pause).await;
            self.observe();
        }
        false
    }

    /// A node that waits for members who were all replaced waits for ever, and says so: an operator
    /// wipes it, where the others serve.
    fn give_up_the_silent(&self) {
        if self.leader().is_none() {
            return;
        }
        for machine in self.members() {
            if machine.running().is_none() && machine.node_id().is_some() {
                machine.wipe();
            }
        }
    }

    /// Nodes that serve: all, except those whose disk was refused.
    pub(crate) fn serving(&self) -> Vec<(Arc<Machine>, Arc<Running>)> {
        let running = self.machines.iter().map(|machine| (machine.clone(), machine.running()));
        running.filter_map(|(machine, running)| Some((machine, running?))).collect()
    }

    /// Whether so many disks were refused (with a planted bug) that nobody can serve.
    pub(crate) fn has_lost_its_quorum(&self) -> bool {
        let members = self.members();
        let refused =
            members.iter().filter(|machine| machine.standing() == Standing::Refused).count();
        self.plant == Some(Plant::SkippedFsync) && refused * 2 >= members.len()
    }

    /// Whether one leads, and all have applied the same and are unsealed.
    pub(crate) fn is_whole(&self) -> bool {
        let members = self.members();
        let serving: Vec<_> = members.iter().filter_map(|machine| machine.running()).collect();
        let able = members.iter().filter(|machine| machine.standing() == Standing::Good).count();
        let statuses: Vec<_> = serving.iter().map(|running| running.raft.status()).collect();
        let Some(leader) = statuses.iter().find(|status| status.is_leader) else { return false };
        let named: BTreeSet<_> = members.iter().map(|machine| machine.name()).collect();
        let voters = leader.members.iter().filter(|view| view.voter);
        let voters: BTreeSet<_> = voters.map(|view| view.member.name.clone()).collect();
        let hashes: Vec<_> = serving
            .iter()
            .map(|running| running.state.applied())
            .map(|applied| (applied.log_id, applied.state_hash))
            .collect();
        serving.len() == able
            && voters == named
            && leader.members.len() == named.len()
            && serving.iter().all(|running| running.core().is_some())
            && statuses.iter().all(|status| status.leader_id == Some(leader.node_id))
            && statuses.iter().all(|status| status.term == leader.term)
            && hashes.iter().all(|hash| *hash == hashes[0])
            && hashes[0].0.is_some_and(|id| id.index == leader.last_log_index)
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
        let describe = |machine: &Arc<Machine>| {
            let Some(running) = machine.running() else {
                return format!("{}: {:?}, not running", machine.name(), machine.standing());
            };
            let status = running.raft.status();
            let members = status.members.iter().map(|view| {
                let kind = if view.voter { "" } else { "?" };
                format!("{}{kind}={}", view.member.node_id, view.member.name)
            });
            format!(
                "{} as {}: term {}, leader {:?}, last {}, committed {}, applied {}, sealed {}, \
                 members {}",
                machine.name(),
                status.node_id,
                status.term,
                status.leader_id,
                status.last_log_index,
                status.committed_index,
                status.applied_index,
                running.core().is_none(),
                members.collect::<Vec<_>>().join(" ")
            )
        };
        self.members().iter().map(describe).collect::<Vec<_>>().join("; ")
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        lock(&self.watch)
    }
}

/// What `sys/init` does.
async fn found(running: Arc<Running>, founder: v1::Member) -> Result<Keys, String> {
    let raft = running.raft.clone();
    raft.bootstrap(founder).await.map_err(|error| error.to_string())?;
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
    mount_secret(&running, &token).await.map_err(|error| error.to_string())?;
    Ok(Keys { root_key, token: token.to_string() })
}

/// Where the workload writes.
async fn mount_secret(running: &Running, token: &str) -> Result<(), conclave_core::Error> {
    let ask = Ask {
        operation: Operation::Write,
        path: "sys/mounts/secret".to_owned(),
        body: Bytes::from_static(br#"{"type":"kv","options":{"version":"2"}}"#),
        version: None,
        token: token.to_owned(),
        idempotency: None,
    };
    let core = running.core().expect("a node that was just unsealed serves");
    core.handle(&ask.to_request()).await.map(drop)
}

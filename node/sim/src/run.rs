//! One run: one seed, one thread, one cluster.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Clock;
use openraft::AsyncRuntime;
use openraft_rt_sim::SimRuntime;

use crate::Plant;
use crate::cluster::Cluster;
use crate::coverage::Coverage;
use crate::faults;
use crate::invariants::Violation;
use crate::workload::{CLIENTS, Client};
use crate::world::World;

/// Faults and clients, in virtual time.
const FAULTS: Duration = Duration::from_secs(20);
/// Between two looks at the nodes.
const TICK: Duration = Duration::from_millis(20);

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Everything follows from it.
    pub seed: u64,
    /// A bug to be found.
    pub plant: Option<Plant>,
    /// Whether to keep the lines of the trace, besides their hash.
    pub keep_lines: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Over all events, in order.
    pub trace_hash: u64,
    /// The events, where they were kept.
    pub lines: Vec<String>,
    /// What happened.
    pub coverage: Coverage,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Virtual time that passed.
    pub virtual_time: Duration,
}

impl Run {
    /// Runs it. The same run has the same outcome, always.
    #[must_use]
    pub fn run(self) -> Outcome {
        let mut runtime = SimRuntime::with_seed(self.seed);
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async move { self.simulate().await })
        }));
        ran.unwrap_or_else(|payload| Outcome {
            seed: self.seed,
            trace_hash: 0,
            lines: Vec::new(),
            coverage: Coverage::default(),
            violation: Some(Violation::new("the run does not panic", panic_text(&*payload))),
            virtual_time: Duration::ZERO,
        })
    }

    async fn simulate(self) -> Outcome {
        let world = World::new(self.seed, self.keep_lines);
        let cluster = Arc::new(Cluster::new(world.clone(), self.seed, self.plant));
        match cluster.form().await {
            Ok(()) => self.torment(&cluster).await,
            Err(violation) => world.report(violation),
        }
        if cluster.goes_on() {
            cluster.heal().await;
        }
        if cluster.goes_on() && !cluster.has_lost_its_quorum() && self.plant.is_none() {
            faults::roll_one_back(&cluster, self.seed).await;
        }
        if cluster.goes_on() && !cluster.has_lost_its_quorum() {
            verify(&cluster, self.seed).await;
        }
        Outcome {
            seed: self.seed,
            trace_hash: world.trace.hash(),
            lines: world.trace.take_lines(),
            coverage: world.coverage(),
            violation: world.violation(),
            virtual_time: world.clock.elapsed(),
        }
    }

    /// Clients and faults at once.
    async fn torment(self, cluster: &Arc<Cluster>) {
        if self.plant == Some(Plant::SkippedFsync) {
            cluster.machines.iter().for_each(|machine| machine.plant_skipped_fsync());
        }
        let end = cluster.world.clock.elapsed() + FAULTS;
        let mut parts = vec![
            SimRuntime::spawn(faults::break_links(cluster.clone(), self.seed, end)),
            SimRuntime::spawn(faults::break_machines(cluster.clone(), self.seed, end)),
            SimRuntime::spawn(faults::cut_power(cluster.clone(), self.seed, end)),
        ];
        // A disk that keeps nothing is not opened again: nobody is to replace it.
        if self.plant != Some(Plant::SkippedFsync) {
            parts.push(SimRuntime::spawn(faults::break_disks(cluster.clone(), self.seed, end)));
            parts.push(SimRuntime::spawn(faults::change_members(cluster.clone(), self.seed, end)));
        }
        for number in 0..CLIENTS {
            let client = Client::new(cluster.clone(), self.seed, number);
            parts.push(SimRuntime::spawn(client.run(end)));
        }
        while cluster.world.clock.elapsed() < end && cluster.goes_on() {
            cluster.world.clock.sleep(TICK).await;
            cluster.observe();
        }
        for part in parts {
            if let Err(error) = part.await {
                cluster.world.report(Violation::new("the run does not panic", error.to_string()));
            }
        }
    }
}

/// A write goes through, and every node has everything that was ever acknowledged.
async fn verify(cluster: &Arc<Cluster>, seed: u64) {
    let mut client = Client::new(cluster.clone(), seed, CLIENTS);
    if client.put_at_last().await.is_none() && cluster.goes_on() {
        let text = "no write is acknowledged although all is healed";
        cluster.world.report(Violation::new("all heals in bounded time", text));
    }
    for (machine, _) in cluster.serving() {
        client.read_all(machine.number).await;
    }
    cluster.heal().await;
    cluster.observe();
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! Where the cluster's time comes from when nobody knows it.
//!
//! A leader that heard no time since it started asks the voters. If one of them heard a time, the
//! leader continues that. Otherwise the cluster starts as a whole, and only then wall clocks
//! count: the median of a majority of voters whose clocks agree. Without such a majority there is
//! no time, so nothing is stamped and nothing is decided by it, until somebody sets the clocks.

use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Elapsed;
use conclave_proto::v1;
use futures::future::join_all;
use openraft::AsyncRuntime;

use crate::Target;
use crate::node::Node;

/// Clocks agree where no two of them differ by more.
const CLOCK_SPREAD_MS_MAX: u64 = 5_000;
/// Between two warnings that the clocks differ.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// How long every voter is asked before wall clocks count, in election timeouts: one that is slow
/// to answer may have heard a time.
const PATIENCE_ELECTIONS: u32 = 2;

/// Runs until the time is known, which it then stays, or until the node stops.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let patience = node.config.election_timeout_max * PATIENCE_ELECTIONS;
    let (mut warned_at, mut asking_since) = (None, None);
    while !node.flags.stopping() && node.time.now().is_none() {
        if node.is_leader() {
            let now = node.ports.clock.monotonic();
            let patient = now < *asking_since.get_or_insert(now) + patience;
            match settle(&node, patient).await {
                Ok(cluster_ms) => node.time.hear(cluster_ms),
                Err(NoTime::Waiting) => {}
                Err(NoTime::Discord(discord)) => warn(&node, &discord, &mut warned_at),
            }
        } else {
            asking_since = None;
        }
        node.pause(node.config.heartbeat / 4).await;
    }
}

async fn settle<R: AsyncRuntime>(node: &Node<R>, patient: bool) -> Result<u64, NoTime> {
    let voters = node.voters();
    let own = Reading {
        node_id: node.config.node_id,
        wall_ms: node.ports.clock.wall_ms(),
        cluster_ms: 0,
        at: node.ports.clock.monotonic(),
    };
    let peers = node.peers().into_iter().filter(|target| voters.contains(&target.node_id));
    let answers = join_all(peers.map(|target| ask(node, target))).await.into_iter().flatten();
    let mut readings: Vec<Reading> = answers.collect();
    // A leader that was removed votes no more.
    readings.extend(voters.contains(&own.node_id).then_some(own));
    let now = node.ports.clock.monotonic();
    readings.iter_mut().for_each(|reading| reading.bring_to(now));
    if patient && may_still_hear(&readings, voters.len()) {
        return Err(NoTime::Waiting);
    }
    agree(&readings, voters.len() / 2 + 1).map_err(NoTime::Discord)
}

async fn ask<R: AsyncRuntime>(node: &Node<R>, target: Target) -> Option<Reading> {
    let request = v1::StatusRequest { from: node.config.node_id, ..Default::default() };
    let answer = node.transport.status(&target, request);
    match node.ports.within(node.config.heartbeat, answer).await {
        Ok(Ok(status)) => Some(Reading {
            node_id: target.node_id,
            wall_ms: status.wall_ms,
            cluster_ms: status.cluster_ms,
            at: node.ports.clock.monotonic(),
        }),
        Ok(Err(_)) | Err(Elapsed) => None,
    }
}

fn warn<R: AsyncRuntime>(node: &Node<R>, discord: &Discord, warned_at: &mut Option<Duration>) {
    let now = node.ports.clock.monotonic();
    if warned_at.is_some_and(|at| now < at + WARN_INTERVAL) {
        return;
    }
    *warned_at = Some(now);
    let clocks = discord.describe();
    tracing::warn!(
        clocks,
        needed = discord.needed,
        "no majority of voters has clocks that agree, so nothing can be written; set the clocks \
         of these nodes, or start those that are missing"
    );
}

/// What one voter says about time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    node_id: u64,
    wall_ms: u64,
    /// 0 where it heard none.
    cluster_ms: u64,
    /// This node's monotonic clock when it was read.
    at: Duration,
}

impl Reading {
    /// The others' answers came while the slowest was awaited.
    fn bring_to(&mut self, now: Duration) {
        let waited = now.saturating_sub(self.at).as_millis();
        let waited_ms = u64::try_from(waited).unwrap_or(u64::MAX);
        self.wall_ms = self.wall_ms.saturating_add(waited_ms);
        if self.cluster_ms > 0 {
            self.cluster_ms = self.cluster_ms.saturating_add(waited_ms);
        }
        self.at = now;
    }
}

/// Why there is no time.
enum NoTime {
    /// Some voter did not answer yet.
    Waiting,
    Discord(Discord),
}

/// Clocks that do not agree, or too few of them.
#[derive(Debug, PartialEq, Eq)]
struct Discord {
    /// By node, of those that answered.
    clocks: Vec<(u64, u64)>,
    /// So many have to agree.
    needed: usize,
}

impl Discord {
    /// Each clock by its distance from the earliest, which is what has to be looked at.
    fn describe(&self) -> String {
        let earliest = self.clocks.iter().map(|(_, wall_ms)| *wall_ms).min().unwrap_or(0);
        let each = self.clocks.iter().map(|(node_id, wall_ms)| {
            format!("node {node_id}: {wall_ms} (+{} ms)", wall_ms - earliest)
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Whether some voter that did not answer yet may have heard a time, and nobody else has.
fn may_still_hear(readings: &[Reading], voters: usize) -> bool {
    readings.len() < voters && readings.iter().all(|reading| reading.cluster_ms == 0)
}

/// The time to begin with.
fn agree(readings: &[Reading], quorum: usize) -> Result<u64, Discord> {
    let heard = readings.iter().map(|reading| reading.cluster_ms).max().unwrap_or(0);
    if heard > 0 {
        return Ok(heard);
    }
    let mut clocks: Vec<(u64, u64)> =
        readings.iter().map(|reading| (reading.node_id, reading.wall_ms)).collect();
    clocks.sort_by_key(|(node_id, wall_ms)| (*wall_ms, *node_id));
    let agreeing = (0..clocks.len()).map(|first| {
        let latest_ms = clocks[first].1.saturating_add(CLOCK_SPREAD_MS_MAX);
        let group = &clocks[first..];
        &group[..group.partition_point(|(_, wall_ms)| *wall_ms <= latest_ms)]
    });
    // Of equally large groups the earliest: time can be caught up with, not taken back.
    let largest = agreeing.reduce(|best, next| if next.len() > best.len() { next } else { best });
    match largest {
        Some(group) if group.len() >= quorum => Ok(group[(group.len() - 1) / 2].1),
        Some(_) | None => Err(Discord { clocks, needed: quorum }),
    }
}

#[cfg(test)]
mod tests;

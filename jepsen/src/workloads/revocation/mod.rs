//! Nothing that was revoked can be used again: at no node, through kills, partitions and pauses.

mod history;
mod links;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use conclave_sdk::Client;
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;

use super::Effort;
use crate::cluster::Cluster;
use crate::pace;
use crate::report::{Report, Row};
use crate::rows::Door;
use crate::seed::Seed;

use history::{History, Visitor};
use links::Links;
use work::{KEPT, USER_POLICY, Worker};

/// Workers make tokens, trees of tokens, policies and mounts and end them; visitors at every node use
/// all of it, all the time; the leader is killed, cut off and paused meanwhile.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let rounds = effort.count(ROUNDS_CI, ROUNDS_ALL);
    let mut cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
    let client = cluster.client().await?;
    let links = Links::interpose(&mut cluster, &client).await?;
    prepare(&cluster).await?;
    let doors = doors(&cluster)?;
    let history = Arc::new(History::default());
    let crowd = Crowd::start(&cluster, &doors, &history, effort.seed);

    let mut faults = Faults { seed: Seed::new(effort.seed, 1), first: 0, done: [0; 3], terms: 0 };
    let mut failed = Ok(());
    for round in 0..rounds {
        failed = faults.one(&mut cluster, &client, &links, round).await;
        if failed.is_err() || !history.violations().is_empty() {
            break;
        }
    }
    links.heal();
    if failed.is_ok() {
        // On a slow machine the faults may be over before there is much to look at.
        let enough = async || history.is_enough() || !history.violations().is_empty();
        failed = pace::until(ENOUGH_MAX, "what makes this run count", enough).await;
    }
    let made = crowd.stop().await?;
    failed?;
    visit_all(&doors, &history).await?;
    let violations = history.violations();
    ensure!(violations.is_empty(), "{} violations: {}", violations.len(), violations.join("; "));
    let report = figures(&history, &faults, made, &links)?;
    cluster.stop().await?;
    Ok(report)
}

async fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    let door = Door::new(cluster, &cluster.ready.nodes[0])?;
    let root = door.caller(&cluster.ready.root_token);
    root.post(&KEPT[4..], &json!({"data": {"is": "kept"}})).await?.done("a secret")?;
    let rules = format!(
        "path \"{}\" {{ capabilities = [\"read\"] }}\n\
         path \"auth/token/create\" {{ capabilities = [\"update\"] }}",
        &KEPT[4..]
    );
    let policy = json!({ "policy": rules });
    root.post(&format!("sys/policies/acl/{USER_POLICY}"), &policy).await?.done("a policy")?;
    Ok(())
}

fn doors(cluster: &Cluster) -> anyhow::Result<Vec<Door>> {
    cluster.ready.nodes.iter().map(|node| Door::new(cluster, node)).collect()
}

/// Workers and visitors.
struct Crowd {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<usize>>,
    visitors: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(cluster: &Cluster, doors: &[Door], history: &Arc<History>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |number: usize| {
            let worker = Worker {
                number,
                doors: doors.to_vec(),
                root_token: cluster.ready.root_token.clone(),
                history: history.clone(),
                seed: Seed::new(seed, 100 + number as u64),
            };
            pace::task(worker.run(stop.clone()))
        };
        let visitor = |number: usize| {
            let visitor = Visitor::new(&doors[number % doors.len()], history);
            pace::task(visitor.run(Seed::new(seed, 200 + number as u64), stop.clone()))
        };
        let workers = (0..WORKERS).map(worker).collect();
        let visitors = (0..VISITORS_PER_NODE * doors.len()).map(visitor).collect();
        Self { stop, workers, visitors }
    }

    /// Answers with how many things were made.
    async fn stop(self) -> anyhow::Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut made = 0;
        for worker in self.workers {
            made += worker.await?;
        }
        for visitor in self.visitors {
            visitor.await?;
        }
        Ok(made)
    }
}

/// What is done to the leader.
struct Faults {
    seed: Seed,
    /// Which kind begins these three rounds.
    first: usize,
    /// Kills, partitions, pauses.
    done: [usize; 3],
    /// How far the term went meanwhile.
    terms: u64,
}

impl Faults {
    /// One fault, and its end. Each kind comes once in three rounds.
    async fn one(
        &mut self,
        cluster: &mut Cluster,
        client: &Client,
        links: &Links,
        round: u64,
    ) -> anyhow::Result<()> {
        let leader = cluster.leader(client).await?;
        let before = term(cluster, client).await;
        if round.is_multiple_of(3) {
            self.first = self.seed.below(3);
        }
        let kind = (usize::try_from(round % 3)? + self.first) % 3;
        let lasting = Duration::from_millis(LASTING_MS + self.seed.next() % LASTING_MS);
        match kind {
            0 => {
                cluster.kill(leader).await?;
                pace::pause(lasting).await;
                cluster.restart(leader)?;
                links.restarted(cluster, leader);
            }
            1 => {
                links.isolate(leader);
                pace::pause(lasting).await;
                links.heal();
            }
            _ => {
                cluster.signal(leader, Signal::STOP)?;
                pace::pause(lasting).await;
                cluster.signal(leader, Signal::CONT)?;
            }
        }
        self.done[kind] += 1;
        let index = cluster.committed(client).await;
        cluster.wait_caught_up(client, leader, index).await?;
        pace::pause(BETWEEN).await;
        self.terms += term(cluster, client).await.saturating_sub(before);
        Ok(())
    }
}

/// The highest that any node knows.
async fn term(cluster: &Cluster, client: &Client) -> u64 {
    let mut highest = 0;
    for node in &cluster.ready.nodes {
        if let Some(status) = cluster.status(client, node).await {
            highest = highest.max(status.term);
        }
    }
    highest
}

/// Everything once more, at every node.
async fn visit_all(doors: &[Door], history: &Arc<History>) -> anyhow::Result<()> {
    for door in doors {
        let before = history.unanswered.load(Ordering::Relaxed);
        let mut visitor = Visitor::new(door, history);
        let things = history.things();
        for thing in &things {
            visitor.visit(thing).await;
        }
        let unanswered = history.unanswered.load(Ordering::Relaxed) - before;
        ensure!(unanswered * 10 < things.len(), "node {} answers no more", door.node.id);
    }
    Ok(())
}

/// Void, unless everything happened that was to happen.
fn figures(
    history: &History,
    faults: &Faults,
    made: usize,
    links: &Links,
) -> anyhow::Result<Report> {
    let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
    let [kills, partitions, pauses] = faults.done;
    let (acknowledged, used, refused) =
        (count(&history.acknowledged), count(&history.used), count(&history.refused));
    ensure!(kills > 0 && partitions > 0 && pauses > 0, "not every fault came: void");
    ensure!(faults.terms as usize >= kills, "the leader changed {} times: void", faults.terms);
    ensure!(links.strangers() == 0, "{} links could not be cut: void", links.strangers());
    ensure!(history.is_enough(), "{acknowledged} ends, {used} uses, {refused} refused: void");
    let figures = format!(
        "{made} tokens, trees, policies and mounts over {kills} kills, {partitions} partitions and \
         {pauses} pauses of the leader ({} changes of term): {acknowledged} things revoked, {} \
         unknown; {used} uses before, {refused} refused after, {} unanswered, 0 after an end",
        faults.terms,
        count(&history.unknown),
        count(&history.unanswered),
    );
    let runs = (kills + partitions + pauses) as u64;
    Ok(Report::from(figures)
        .with_row("revocations under kill, partition and pause of the leader", Row::healed(runs)))
}

const WORKERS: usize = 4;
const VISITORS_PER_NODE: usize = 2;
const ROUNDS_CI: u64 = 3;
const ROUNDS_ALL: u64 = 60;
/// How long a fault lasts, at least; at most twice as long.
const LASTING_MS: u64 = 1800;
const BETWEEN: Duration = Duration::from_millis(400);
const ENOUGH_MAX: Duration = Duration::from_secs(30);

//! Saving while clients write, tampering, restoring, and dying in the middle of it.

mod tamper;

use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::Client;
use rustix::process::Signal;
use serde_json::json;

use super::Effort;
use super::members::wait_equal;
use super::model::Model;
use super::writers::{History, Writers};
use crate::cluster::Cluster;
use crate::http::{Answer, Raw};
use crate::pace;
use crate::report::{Report, Row};
use crate::seed::Seed;

/// Saves on a follower under load, refuses what was tampered with, restores through a follower, and
/// kills leaders amid restores.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let kills = effort.count(KILLS_CI, KILLS_ALL);
    let mut seed = Seed::new(effort.seed, 0xba);
    let mut saved = Saved::start().await?;
    let loaded = saved.save_under_load().await?;
    let refused = tamper::refuse_all(&saved, &mut seed).await?;
    saved.restore().await?;
    let (old, new) = saved.restore_under_kills(kills, &mut seed).await?;
    wait_equal(&saved.client, 3).await?;
    saved.cluster.stop().await?;
    let figures = format!(
        "saved on a follower with {loaded} writes around it, {refused} tampered backups refused with \
         nothing changed, restored through a follower, same on all nodes; {kills} leader kills amid \
         restores left {old} × the old and {new} × the new state, 0 mixed"
    );
    Ok(Report::from(figures)
        .with_row("backup restored", Row::healed(1))
        .with_row("tampered backup", Row::refused(refused))
        .with_row("kill -9 of the leader amid a restore", Row::healed(kills)))
}

/// A cluster and a backup of it.
pub(super) struct Saved {
    cluster: Cluster,
    client: Client,
    /// What the cluster holds.
    now: Model,
    /// What the backup holds.
    then: Model,
    backup: Vec<u8>,
    epoch: u64,
}

impl Saved {
    async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
        let client = cluster.client().await?;
        let mut now = Model::new(VALUE_BYTES);
        now.write(&client, 0..KEYS).await?;
        Ok(Self { cluster, client, then: now.clone(), now, backup: Vec::new(), epoch: 1 })
    }

    /// Each of these writers writes its keys in order, so what a backup holds of each must be an
    /// unbroken beginning; that is looked at after a restore on a fresh round.
    async fn save_under_load(&mut self) -> anyhow::Result<usize> {
        let follower = (self.cluster.leader(&self.client).await? + 1) % 3;
        let writers = Writers::on(&self.cluster, WRITERS, Duration::ZERO).await?;
        pace::pause(Duration::from_millis(500)).await;
        self.backup = save(&self.cluster, follower).await?;
        pace::pause(Duration::from_millis(500)).await;
        let history = writers.stop().await?;
        self.send(follower, &self.backup).await?.expect_done()?;
        self.epoch += 1;
        wait_service(&self.cluster, &self.client).await?;
        let held = self.unbroken(&history).await?;
        ensure!(held > 0, "no write came before the backup: the run is void");
        ensure!(held < history.acknowledged.len(), "no write came after the backup: void");
        self.now.check(&self.cluster, &[0, 1, 2]).await?;
        // From here on without those writers' keys in it.
        self.then = self.now.clone();
        self.backup = save(&self.cluster, follower).await?;
        self.now.write(&self.client, KEYS / 2..KEYS * 2).await?;
        Ok(history.acknowledged.len())
    }

    /// How many of the writers' keys the restored state holds; they have no gap.
    async fn unbroken(&self, history: &History) -> anyhow::Result<usize> {
        let kv = self.client.kv("secret");
        let mut held = 0;
        for writer in 0..WRITERS {
            let mut ended = false;
            for value in 0.. {
                let path = format!("writer-{writer}/key-{value}");
                if !history.acknowledged.contains_key(&path) {
                    break;
                }
                let there = kv.get(&path, None).await?.is_some();
                ensure!(!(there && ended), "{path} is in the backup and one before it is not");
                ended |= !there;
                held += usize::from(there);
            }
        }
        Ok(held)
    }

    /// Through a follower; every node has the old state, the epoch is raised, and a join token from
    /// before is dead.
    async fn restore(&mut self) -> anyhow::Result<()> {
        let token = self.client.operator().create_join_token(600_000).await?.token;
        let follower = (self.cluster.leader(&self.client).await? + 2) % 3;
        self.send(follower, &self.backup).await?.expect_done()?;
        self.epoch += 1;
        self.is_restored().await?;
        token_is_dead(&self.cluster, &self.client, &token).await?;
        self.then.write(&self.client, 0..KEYS / 4).await?;
        self.then.check(&self.cluster, &[0, 1, 2]).await?;
        wait_equal(&self.client, 3).await
    }

    async fn is_restored(&mut self) -> anyhow::Result<()> {
        wait_service(&self.cluster, &self.client).await?;
        let then = self.then.clone().numbered_after(&self.now);
        for node in &self.cluster.ready.nodes {
            let direct = self.cluster.client_of(node).await?;
            let strays = then.strays(&self.now, &direct).await?;
            ensure!(strays == 0, "{strays} keys outlived a restore on {}", node.api_addr);
        }
        then.check(&self.cluster, &[0, 1, 2]).await?;
        (self.now, self.then) = (then.clone(), then);
        self.epochs_are(self.epoch).await
    }

    async fn epochs_are(&self, wanted: u64) -> anyhow::Result<()> {
        for place in 0..3 {
            let found = epoch(&self.cluster, place).await?;
            ensure!(found == wanted, "node {place} is in epoch {found} instead of {wanted}");
        }
        Ok(())
    }

    /// Answers with how often the old state stood afterwards, and how often the restored one.
    async fn restore_under_kills(
        &mut self,
        kills: u64,
        seed: &mut Seed,
    ) -> anyhow::Result<(u64, u64)> {
        let (mut old, mut new) = (0, 0);
        self.backup = save(&self.cluster, 0).await?;
        for _ in 0..kills {
            self.now.write(&self.client, KEYS / 2..KEYS * 2).await?;
            let leader = self.cluster.leader(&self.client).await?;
            let through = (leader + 1) % 3;
            let delay = Duration::from_millis(seed.next() % KILL_AFTER_MS_MAX);
            let sent = self.send(through, &self.backup);
            let killed = async {
                pace::pause(delay).await;
                self.cluster.signal(leader, Signal::KILL)
            };
            let (answer, killed) = futures::future::join(sent, killed).await;
            killed?;
            let answer = answer.map_or(0, |answer| answer.0.status);
            self.cluster.end(leader).await?;
            self.cluster.restart(leader)?;
            wait_service(&self.cluster, &self.client).await?;
            match self.which().await? {
                Which::Old => {
                    ensure!(answer != 204, "a restore was acknowledged and undone");
                    old += 1;
                }
                Which::New => {
                    let then = self.then.clone().numbered_after(&self.now);
                    (self.now, self.then) = (then.clone(), then);
                    new += 1;
                }
            }
        }
        Ok((old, new))
    }

    /// Every node, asked alone, has all of one of the two states and nothing of the other.
    async fn which(&self) -> anyhow::Result<Which> {
        let mut found = Vec::new();
        for node in &self.cluster.ready.nodes {
            let direct = self.cluster.client_of(node).await?;
            let is_old = self.now.compare(&direct).await? == (0, 0);
            let is_new = self.then.compare(&direct).await? == (0, 0)
                && self.then.strays(&self.now, &direct).await? == 0;
            ensure!(is_old != is_new, "{} holds a mix of two states", node.api_addr);
            found.push(if is_old { Which::Old } else { Which::New });
        }
        ensure!(found.iter().all(|which| *which == found[0]), "the nodes hold {found:?}");
        Ok(found[0])
    }

    async fn send(&self, place: usize, backup: &[u8]) -> anyhow::Result<Restored> {
        let raw = raw(&self.cluster, place)?;
        let (status, body) = raw.send_for_bytes("POST", SNAPSHOT, backup).await?;
        Ok(Restored(Answer { status, body: String::from_utf8_lossy(&body).into_owned() }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Old,
    New,
}

/// The answer to a restore.
pub(super) struct Restored(pub(super) Answer);

impl Restored {
    fn expect_done(self) -> anyhow::Result<()> {
        ensure!(self.0.status == 204, "a restore: {} {}", self.0.status, self.0.body);
        Ok(())
    }
}

fn raw(cluster: &Cluster, place: usize) -> anyhow::Result<Raw> {
    let node = &cluster.ready.nodes[place];
    Raw::new(&cluster.ready.ca_file, &node.api_addr, &cluster.ready.root_token)
}

/// A backup from this node.
pub(super) async fn save(cluster: &Cluster, place: usize) -> anyhow::Result<Vec<u8>> {
    let (status, bytes) = raw(cluster, place)?.send_for_bytes("GET", SNAPSHOT, b"").await?;
    let text = || String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    ensure!(status == 200, "a backup: {status} {}", text());
    ensure!(bytes.starts_with(&[0x1f, 0x8b]), "a backup is no gzip file: {}", text());
    Ok(bytes)
}

/// The epoch as one node has it.
pub(crate) async fn epoch(cluster: &Cluster, place: usize) -> anyhow::Result<u64> {
    let answer =
        raw(cluster, place)?.send("GET", "/v1/sys/storage/raft/configuration", b"").await?;
    let body: serde_json::Value = serde_json::from_str(&answer.body)?;
    let epoch = body["data"]["config"]["epoch"].as_u64();
    epoch.with_context(|| format!("no epoch in {}", answer.body))
}

/// Waits until every node serves and has what is committed.
async fn wait_service(cluster: &Cluster, client: &Client) -> anyhow::Result<()> {
    cluster.leader(client).await?;
    let index = cluster.committed(client).await;
    for place in 0..3 {
        cluster.wait_caught_up(client, place, index).await?;
    }
    Ok(())
}

/// A node that was invited before the restore does not get in afterwards.
async fn token_is_dead(cluster: &Cluster, client: &Client, token: &str) -> anyhow::Result<()> {
    let (api, config) = super::membership::write_newcomer(cluster)?;
    let mut newcomer = tokio::process::Command::new(crate::cluster::conclaved()?)
        .args(["server", "--config"])
        .arg(&config)
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    pace::until(Duration::from_secs(30), "the newcomer's start", async || {
        client.operator().status(Some(&api)).await.is_ok()
    })
    .await?;
    let raw = Raw::new(&cluster.ready.ca_file, &api, &cluster.ready.root_token)?;
    let body = json!({"join_token": token}).to_string();
    let refused = raw.send("POST", "/v1/sys/storage/raft/join", body.as_bytes()).await?;
    let denied = refused.status == 403 && refused.body.contains("join token");
    ensure!(denied, "a token of an older epoch: {} {}", refused.status, refused.body);
    newcomer.kill().await?;
    Ok(())
}

const SNAPSHOT: &str = "/v1/sys/storage/raft/snapshot";
const KILLS_CI: u64 = 3;
const KILLS_ALL: u64 = 30;
const KEYS: u64 = 128;
const VALUE_BYTES: usize = 16 << 10;
const WRITERS: usize = 4;
/// From before the first entry of a restore to after its last.
const KILL_AFTER_MS_MAX: u64 = 500;

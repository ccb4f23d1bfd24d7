//! No space left: on one follower, on the leader, on all.

use std::time::Duration;

use anyhow::ensure;
use conclave_sdk::Client;
use rustix::process::Signal;
use serde_json::json;

use super::Effort;
use super::members::{wait_equal, wait_unfit};
use super::writers::Writers;
use crate::cluster::Cluster;
use crate::http::{Answer, Raw};
use crate::report::{Report, Row};
use crate::{files, pace};

/// Takes the space away by the configured cap, and gives it back.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let rounds = effort.count(1, ROUNDS_ALL);
    let mut handed_over = Duration::ZERO;
    let mut acknowledged = 0;
    for _ in 0..rounds {
        let (took, written) = round().await?;
        handed_over = handed_over.max(took);
        acknowledged += written;
    }
    let figures = format!(
        "{rounds} × a full follower, a full leader (gone from its place after at most {} ms), all \
         nodes full (507, reads go on, deletes pass), space back; {acknowledged} acknowledged, 0 \
         lost, 0 wrong",
        handed_over.as_millis()
    );
    Ok(Report::from(figures)
        .with_row("disk full on a follower", Row::healed(rounds))
        .with_row("disk full on the leader", Row::healed(rounds))
        .with_row("disk full on all nodes", Row::healed(rounds)))
}

async fn round() -> anyhow::Result<(Duration, usize)> {
    let mut cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
    let client = cluster.client().await?;
    cluster
        .reconfigure(&client, |config| {
            config["storage"]["raft"]["reserve_bytes"] = json!(RESERVE_BYTES);
        })
        .await?;
    let writers = Writers::on(&cluster, WRITERS, PAUSE).await?;
    pace::pause(Duration::from_secs(1)).await;
    full_follower(&cluster, &client).await?;
    let took = full_leader(&cluster, &client).await?;
    let history = writers.stop().await?;
    ensure!(history.longest_gap() < GAP_MAX, "writes stopped for {:?}", history.longest_gap());
    ensure!(history.unknown == 0, "{} writes failed though two nodes had space", history.unknown);
    Box::pin(all_full(&cluster, &client)).await?;
    history.check(&cluster, &[0, 1, 2]).await?;
    wait_equal(&client, 3).await?;
    cluster.stop().await?;
    Ok((took, history.acknowledged.len()))
}

/// Sets the cap so that a quarter of the reserve is left, which is full; or takes it away. A reserve
/// is a tenth of the cap at most, so that what is left is a share of what the node takes, which
/// differs with how much it was given to write.
fn cap(cluster: &Cluster, place: usize, full: bool) -> anyhow::Result<()> {
    let data = cluster.ready.nodes[place].data();
    let used = files::bytes_below(&data)?;
    cluster.configure(place, |config| {
        let left = (RESERVE_BYTES / 4).min(used / 40);
        let cap = if full { json!(used + left) } else { serde_json::Value::Null };
        config["storage"]["raft"]["data_bytes_max"] = cap;
    })?;
    cluster.signal(place, Signal::HUP)
}

async fn full_follower(cluster: &Cluster, client: &Client) -> anyhow::Result<()> {
    let leader = cluster.leader(client).await?;
    let follower = (leader + 1) % 3;
    cap(cluster, follower, true)?;
    wait_unfit(client, &[follower]).await?;
    for i in 0..50 {
        client.kv("secret").put("full-follower", json!({"i": i}), None).await?;
    }
    ensure!(cluster.leader(client).await? == leader, "a full follower moved the leadership");
    let direct = cluster.client_of(&cluster.ready.nodes[follower]).await?;
    ensure!(direct.kv("secret").get("full-follower", None).await?.is_some(), "it does not read");
    cap(cluster, follower, false)?;
    wait_unfit(client, &[]).await
}

async fn full_leader(cluster: &Cluster, client: &Client) -> anyhow::Result<Duration> {
    let leader = cluster.leader(client).await?;
    let begun = pace::now();
    cap(cluster, leader, true)?;
    pace::until(HAND_OVER_MAX, "the hand-over by a full leader", async || {
        cluster.leader(client).await.is_ok_and(|now| now != leader)
    })
    .await?;
    let took = begun.elapsed();
    client.kv("secret").put("full-leader", json!({"i": 1}), None).await?;
    wait_unfit(client, &[leader]).await?;
    client.operator().step_down().await?;
    ensure!(cluster.leader(client).await? != leader, "a full node was chosen to lead");
    cap(cluster, leader, false)?;
    wait_unfit(client, &[]).await?;
    Ok(took)
}

async fn all_full(cluster: &Cluster, client: &Client) -> anyhow::Result<()> {
    client.kv("secret").put("to-delete", json!({"i": 1}), None).await?;
    // Before the last of them has looked at its disk, it may lead and take writes.
    Box::pin(fill_all(cluster, client)).await?;
    pace::until(FULL_MAX, "the refusal of writes", async || {
        let Ok(answer) = put(cluster, 0).await else { return false };
        answer.status == 507
    })
    .await?;
    for place in 0..3 {
        let answer = put(cluster, place).await?;
        ensure!(answer.status == 507, "a write without space: {} {}", answer.status, answer.body);
        ensure!(answer.body.contains("space"), "the refusal does not say why: {}", answer.body);
        let direct = cluster.client_of(&cluster.ready.nodes[place]).await?;
        ensure!(
            direct.kv("secret").get("to-delete", None).await?.is_some(),
            "node {place} does not read while all disks are full"
        );
    }
    let raw = raw(cluster, 1)?;
    let deleted = raw.send("DELETE", "/v1/secret/metadata/to-delete", b"").await?;
    ensure!(deleted.status == 204, "a delete without space: {} {}", deleted.status, deleted.body);
    for place in 0..3 {
        cap(cluster, place, false)?;
    }
    pace::until(FULL_MAX, "writes once space is back", async || {
        put(cluster, 2).await.is_ok_and(|answer| answer.status == 200)
    })
    .await
}

/// Fills all nodes. What a node takes shrinks when it drops a snapshot or a segment, and with it how
/// full it is: then its cap is set anew.
async fn fill_all(cluster: &Cluster, client: &Client) -> anyhow::Result<()> {
    let mut last = Ok(());
    for _ in 0..FILLS_MAX {
        for place in 0..3 {
            cap(cluster, place, true)?;
        }
        let filled = wait_unfit(client, &[0, 1, 2]);
        last = pace::within(FILL_MAX, "the end of space", filled).await.flatten();
        if last.is_ok() {
            break;
        }
    }
    last
}

fn raw(cluster: &Cluster, place: usize) -> anyhow::Result<Raw> {
    let node = &cluster.ready.nodes[place];
    Raw::new(&cluster.ready.ca_file, &node.api_addr, &cluster.ready.root_token)
}

async fn put(cluster: &Cluster, place: usize) -> anyhow::Result<Answer> {
    raw(cluster, place)?.send("POST", "/v1/secret/data/full", b"{\"data\":{\"i\":1}}").await
}

const ROUNDS_ALL: u64 = 10;
/// A tenth of what a node may take is the most that a reserve is.
const RESERVE_BYTES: u64 = 8 << 20;
const WRITERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);
const FILLS_MAX: u32 = 5;
const FILL_MAX: Duration = Duration::from_secs(8);
const FULL_MAX: Duration = Duration::from_secs(30);
/// The signal is taken, the space looked at, leadership handed over.
const HAND_OVER_MAX: Duration = Duration::from_secs(4);
const GAP_MAX: Duration = Duration::from_secs(3);

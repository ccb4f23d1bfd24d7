//! `kill -9`.

use std::time::Duration;

use anyhow::ensure;

use super::writers::{History, Writers};
use crate::cluster::Cluster;
use crate::pace;

/// Kills the leader while 16 clients write; every acknowledged write must be there afterwards, writes
/// must go on within 2 s, and the killed node must come back and catch up.
pub(crate) async fn leader(scale: u32) -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3"]).await?;
    let observer = cluster.client().await?;
    let writers = start_writers(&cluster).await?;
    pace::pause(WARM_UP * scale).await;

    let place = cluster.leader(&observer).await?;
    cluster.kill(place)?;
    pace::pause(AFTER_KILL * scale).await;
    let history = writers.stop().await?;

    let outage = history.longest_gap();
    cluster.restart(place)?;
    let index = committed(&cluster, &observer).await;
    cluster.wait_caught_up(&observer, place, index).await?;
    check_every_node(&cluster, &history).await?;
    ensure!(outage <= OUTAGE_MAX, "writes stopped for {outage:?}, at most {OUTAGE_MAX:?}");
    cluster.stop().await?;
    Ok(format!(
        "{} acknowledged, 0 lost, 0 wrong, {} unknown, outage {} ms",
        history.acknowledged.len(),
        history.unknown,
        outage.as_millis()
    ))
}

/// Kills all nodes at once; with the static seal they come back by themselves and have everything.
pub(crate) async fn all(scale: u32) -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
    let observer = cluster.client().await?;
    let writers = start_writers(&cluster).await?;
    pace::pause(WARM_UP * scale).await;

    for place in 0..cluster.ready.nodes.len() {
        cluster.kill(place)?;
    }
    for place in 0..cluster.ready.nodes.len() {
        cluster.restart(place)?;
    }
    let killed = pace::now();
    for place in 0..cluster.ready.nodes.len() {
        cluster.wait_caught_up(&observer, place, 1).await?;
    }
    let serving = killed.elapsed();
    pace::pause(AFTER_KILL * scale).await;
    let history = writers.stop().await?;
    check_every_node(&cluster, &history).await?;
    cluster.stop().await?;
    Ok(format!(
        "{} acknowledged, 0 lost, 0 wrong, {} unknown, all serve {} ms after the restart",
        history.acknowledged.len(),
        history.unknown,
        serving.as_millis()
    ))
}

async fn start_writers(cluster: &Cluster) -> anyhow::Result<Writers> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(cluster.client().await?);
    }
    Ok(Writers::start(clients))
}

async fn committed(cluster: &Cluster, client: &conclave_sdk::Client) -> u64 {
    let mut highest = 0;
    for node in &cluster.ready.nodes {
        if let Some(status) = cluster.status(client, node).await {
            highest = highest.max(status.committed_index);
        }
    }
    highest
}

/// Every node, asked alone, has every acknowledged write.
async fn check_every_node(cluster: &Cluster, history: &History) -> anyhow::Result<()> {
    ensure!(!history.acknowledged.is_empty(), "nothing was written: the run is void");
    for node in &cluster.ready.nodes {
        let client = cluster.client_of(node).await?;
        let (lost, wrong) = history.compare(&client).await?;
        ensure!(lost == 0 && wrong == 0, "node {}: {lost} lost, {wrong} wrong", node.id);
    }
    Ok(())
}

const CLIENTS: usize = 16;
const WARM_UP: Duration = Duration::from_secs(2);
const AFTER_KILL: Duration = Duration::from_secs(4);
const OUTAGE_MAX: Duration = Duration::from_secs(2);

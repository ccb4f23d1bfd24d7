//! `kill -9`.

use std::time::Duration;

use anyhow::ensure;

use super::writers::Writers;
use crate::cluster::Cluster;
use crate::pace;

/// Kills the leader while 16 clients write; every acknowledged write must be there afterwards, writes
/// must go on within 2 s, and the killed node must come back and catch up.
pub(crate) async fn leader(scale: u32) -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3"]).await?;
    let observer = cluster.client().await?;
    let writers = Writers::on(&cluster, CLIENTS, Duration::ZERO).await?;
    pace::pause(WARM_UP * scale).await;

    let place = cluster.leader(&observer).await?;
    cluster.kill(place).await?;
    pace::pause(AFTER_KILL * scale).await;
    let history = writers.stop().await?;

    let outage = history.longest_gap();
    cluster.restart(place)?;
    let index = cluster.committed(&observer).await;
    cluster.wait_caught_up(&observer, place, index).await?;
    history.check(&cluster, &[0, 1, 2]).await?;
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
    let writers = Writers::on(&cluster, CLIENTS, Duration::ZERO).await?;
    pace::pause(WARM_UP * scale).await;

    cluster.kill_all().await?;
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
    history.check(&cluster, &[0, 1, 2]).await?;
    cluster.stop().await?;
    Ok(format!(
        "{} acknowledged, 0 lost, 0 wrong, {} unknown, all serve {} ms after the restart",
        history.acknowledged.len(),
        history.unknown,
        serving.as_millis()
    ))
}

const CLIENTS: usize = 16;
const WARM_UP: Duration = Duration::from_secs(2);
const AFTER_KILL: Duration = Duration::from_secs(4);
const OUTAGE_MAX: Duration = Duration::from_secs(2);

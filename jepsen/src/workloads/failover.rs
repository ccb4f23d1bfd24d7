//! How long writes stop when the leader dies.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use conclave_sdk::Client;

use super::Effort;
use super::writers::Writers;
use crate::cluster::Cluster;
use crate::pace;
use crate::report::{self, Report, Row};

/// Kills the leader again and again while 16 clients write. Leaves the raw times in
/// `failover.csv`.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let kills = effort.count(KILLS_CI, KILLS_ALL);
    let mut cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
    let observer = cluster.client().await?;
    let writers = Writers::on(&cluster, CLIENTS, PAUSE).await?;
    pace::pause(BETWEEN).await;
    let mut killed = Vec::new();
    for _ in 0..kills {
        killed.push(kill_leader(&mut cluster, &observer).await?);
        pace::pause(BETWEEN).await;
    }
    let history = writers.stop().await?;
    history.check(&cluster, &[0, 1, 2]).await?;
    let mut times = outages(&killed, &history.times)?;
    write_csv(&times)?;
    times.sort();
    let longest = *times.last().context("nobody was killed")?;
    ensure!(longest < OUTAGE_MAX, "writes stopped for {longest:?}");
    cluster.stop().await?;
    let figures = format!(
        "{kills} leader kills: first acknowledged write after p50 {} ms, p99 {} ms, max {} ms; {} \
         acknowledged, 0 lost, 0 wrong, {} unknown",
        quantile(&times, 50).as_millis(),
        quantile(&times, 99).as_millis(),
        longest.as_millis(),
        history.acknowledged.len(),
        history.unknown,
    );
    Ok(Report::from(figures).with_row("kill -9 of the leader under load", Row::healed(kills)))
}

/// Kills the leader, waits for another one, and starts the old one again.
async fn kill_leader(cluster: &mut Cluster, observer: &Client) -> anyhow::Result<Instant> {
    let place = cluster.leader(observer).await?;
    let killed = pace::now();
    cluster.end(place).await?;
    cluster.leader(observer).await.context("after a kill")?;
    pace::pause(BETWEEN).await;
    cluster.restart(place)?;
    let index = cluster.committed(observer).await;
    cluster.wait_caught_up(observer, place, index).await?;
    Ok(killed)
}

/// From each kill to the end of the longest silence that follows: an answer that was on its way
/// when the leader died is no sign of life.
fn outages(killed: &[Instant], acknowledged: &[Instant]) -> anyhow::Result<Vec<Duration>> {
    let outage = |(number, kill): (usize, &Instant)| {
        let next = killed.get(number + 1);
        let window = acknowledged.iter().filter(|at| *at > kill && next.is_none_or(|n| *at < n));
        let mut before = kill;
        let mut longest = (Duration::ZERO, kill);
        for at in window {
            longest = longest.max((*at - *before, at));
            before = at;
        }
        ensure!(before != kill, "no write was acknowledged after kill {number}");
        Ok(*longest.1 - *kill)
    };
    killed.iter().enumerate().map(outage).collect()
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[place]
}

fn write_csv(times: &[Duration]) -> anyhow::Result<()> {
    let mut text = String::from("kill,outage_ms\n");
    for (number, time) in times.iter().enumerate() {
        let _ = writeln!(text, "{},{:.1}", number + 1, time.as_secs_f64() * 1e3);
    }
    std::fs::write(report::folder()?.join("failover.csv"), text)?;
    Ok(())
}

const KILLS_CI: u64 = 5;
const KILLS_ALL: u64 = 50;
const CLIENTS: usize = 16;
/// Sixteen writers with this pause see the end of an outage to about 2 ms.
const PAUSE: Duration = Duration::from_millis(20);
const BETWEEN: Duration = Duration::from_secs(1);
/// Two elections in a row on a busy machine.
const OUTAGE_MAX: Duration = Duration::from_secs(6);

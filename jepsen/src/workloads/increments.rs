//! A count that must be exact although answers are lost and leaders die.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::Client;
use serde_json::json;

use crate::cluster::Cluster;
use crate::pace;
use crate::proxy::Proxy;

/// 10,000 increments by compare-and-set through proxies that lose a tenth of the nodes' answers,
/// with three leader kills on the way.
pub(crate) async fn run(scale: u32) -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3"]).await?;
    let observer = cluster.client().await?;
    let (proxies, config) = through_proxies(&cluster).await?;

    let each = INCREMENTS / CLIENTS * u64::from(scale);
    let mut tasks = Vec::new();
    for counter in 0..CLIENTS {
        let client = Client::connect(config.clone()).await?;
        tasks.push(pace::task(count(client, counter % COUNTERS, each)));
    }
    for _ in 0..KILLS {
        pace::pause(BETWEEN_KILLS).await;
        let place = cluster.leader(&observer).await?;
        cluster.kill(place).await?;
        pace::pause(BETWEEN_KILLS).await;
        cluster.restart(place)?;
        cluster.wait_caught_up(&observer, place, 1).await?;
    }
    for task in tasks {
        task.await??;
    }
    let mut total = 0;
    for counter in 0..COUNTERS {
        let secret = observer.kv("secret").get(&format!("counter-{counter}"), None).await?;
        total += secret.context("a counter is missing")?.value()?["n"].as_u64().unwrap_or(0);
    }
    let expected = each * CLIENTS;
    ensure!(total == expected, "counted {total} instead of {expected}");
    let dropped: u64 = proxies.iter().map(Proxy::dropped).sum();
    ensure!(dropped > expected / 100, "only {dropped} answers were lost: the run is void");
    cluster.stop().await?;
    Ok(format!("{total} of {expected} increments, {dropped} answers lost, {KILLS} leader kills"))
}

async fn count(client: Client, counter: u64, times: u64) -> anyhow::Result<()> {
    let kv = client.kv("secret");
    for _ in 0..times {
        kv.update(&format!("counter-{counter}"), |old| {
            let n = old.and_then(|old| old["n"].as_u64()).unwrap_or(0);
            json!({"n": n + 1})
        })
        .await?;
    }
    Ok(())
}

async fn through_proxies(cluster: &Cluster) -> anyhow::Result<(Vec<Proxy>, conclave_sdk::Config)> {
    let mut config = cluster.config();
    let mut proxies = Vec::new();
    for node in &cluster.ready.nodes {
        let target: SocketAddr = node.api_addr.trim_start_matches("https://").parse()?;
        let proxy = Proxy::start(target, LOSS_PERCENT).await?;
        let front = format!("https://{}", proxy.address);
        config.address_overrides.insert(node.api_addr.clone(), front);
        proxies.push(proxy);
    }
    config.timeouts.attempt = Duration::from_secs(3);
    config.timeouts.request = Duration::from_secs(60);
    Ok((proxies, config))
}

const INCREMENTS: u64 = 10_000;
const CLIENTS: u64 = 16;
/// Some contention, some parallelism.
const COUNTERS: u64 = 8;
const KILLS: u32 = 3;
const LOSS_PERCENT: u64 = 10;
const BETWEEN_KILLS: Duration = Duration::from_secs(2);

//! Closed-loop load: each client has one request under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conclave_sdk::{Client, Kv};
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::json;

use crate::cluster::Cluster;
use crate::nodes_cpu;
use crate::pace::{now, task};

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Durable writes of new versions, sent to the leader.
    Put,
    /// Linearizable reads from the leader.
    GetLeader,
    /// Linearizable reads from one follower.
    GetFollower,
}

/// One point of the table.
#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) operation: &'static str,
    pub(crate) clients: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_seconds_per_1000: f64,
    pub(crate) errors: u64,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "durable put",
            Self::GetLeader => "linearizable get, leader",
            Self::GetFollower => "linearizable get, follower",
        }
    }
}

/// Runs `clients` clients for `span`.
pub(crate) async fn run(
    cluster: &Cluster,
    operation: Operation,
    clients: usize,
    span: Duration,
    value_bytes: usize,
) -> anyhow::Result<Figures> {
    let at = cluster.address_for(operation).await?;
    let connections = clients.div_ceil(CLIENTS_PER_CONNECTION);
    let client = cluster.client(&at, connections).await?;
    fill(&client.kv("secret"), value_bytes).await?;

    let errors = Arc::new(AtomicU64::new(0));
    let pids = cluster.pids();
    let cpu_before = nodes_cpu::seconds(&pids)?;
    let begun = now();
    let tasks: Vec<_> = (0..clients)
        .map(|number| {
            let loaded = Loaded { operation, number, span, value_bytes, errors: errors.clone() };
            task(drive(client.clone(), loaded))
        })
        .collect();
    let mut latencies = Histogram::<u64>::new(3)?;
    for task in tasks {
        latencies.add(task.await??)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = nodes_cpu::seconds(&pids)? - cpu_before;
    let count = latencies.len() as f64;
    Ok(Figures {
        operation: operation.name(),
        clients,
        per_second: count / seconds,
        p50_ms: latencies.value_at_quantile(0.5) as f64 / 1e6,
        p99_ms: latencies.value_at_quantile(0.99) as f64 / 1e6,
        cpu_seconds_per_1000: cpu / count * 1000.0,
        errors: errors.load(Ordering::Relaxed),
    })
}

struct Loaded {
    operation: Operation,
    number: usize,
    span: Duration,
    value_bytes: usize,
    errors: Arc<AtomicU64>,
}

async fn drive(client: Client, loaded: Loaded) -> anyhow::Result<Histogram<u64>> {
    let kv = client.kv("secret");
    let value = json!({"v": "x".repeat(loaded.value_bytes)});
    let mut latencies = Histogram::<u64>::new(3)?;
    let begun = now();
    let mut turn = loaded.number;
    while begun.elapsed() < loaded.span {
        let path = format!("bench/{}", turn % KEYS);
        turn += 101;
        let one = now();
        let done = match loaded.operation {
            Operation::Put => kv.put(&path, &value, None).await.map(drop),
            Operation::GetLeader | Operation::GetFollower => kv.get(&path, None).await.map(drop),
        };
        match done {
            Ok(()) => latencies.record(u64::try_from(one.elapsed().as_nanos())?)?,
            Err(_) => {
                loaded.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(latencies)
}

/// Makes every key exist.
async fn fill(kv: &Kv, value_bytes: usize) -> anyhow::Result<()> {
    let value = json!({"v": "x".repeat(value_bytes)});
    if kv.get(&format!("bench/{}", KEYS - 1), None).await?.is_some() {
        return Ok(());
    }
    for key in 0..KEYS {
        kv.put(&format!("bench/{key}"), &value, None).await?;
    }
    Ok(())
}

const KEYS: usize = 1_000;
/// Many connections beat one HTTP/2 connection.
const CLIENTS_PER_CONNECTION: usize = 8;

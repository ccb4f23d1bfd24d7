//! Clients that write and remember what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use conclave_sdk::Client;
use serde_json::json;

use crate::cluster::Cluster;
use crate::pace;

/// What one writer was told: path and value of every acknowledged write, and when.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) acknowledged: BTreeMap<String, u64>,
    pub(crate) times: Vec<Instant>,
    pub(crate) unknown: u64,
}

/// Writers that run until told to stop.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<History>>,
}

impl Writers {
    /// Starts one writer for each client; each writes new keys as fast as it is answered.
    pub(crate) fn start(clients: Vec<Client>) -> Self {
        Self::start_paced(clients, Duration::ZERO)
    }

    /// The same with a pause after every write.
    pub(crate) fn start_paced(clients: Vec<Client>, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = clients
            .into_iter()
            .enumerate()
            .map(|(number, client)| pace::task(write(number, client, pause, stop.clone())))
            .collect();
        Self { stop, tasks }
    }

    /// Starts `count` writers on a cluster.
    pub(crate) async fn on(
        cluster: &Cluster,
        count: usize,
        pause: Duration,
    ) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(cluster.client().await?);
        }
        Ok(Self::start_paced(clients, pause))
    }

    /// Stops them and merges what they were told.
    pub(crate) async fn stop(self) -> anyhow::Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = History::default();
        for task in self.tasks {
            let one = task.await?;
            all.acknowledged.extend(one.acknowledged);
            all.times.extend(one.times);
            all.unknown += one.unknown;
        }
        all.times.sort();
        Ok(all)
    }
}

async fn write(number: usize, client: Client, pause: Duration, stop: Arc<AtomicBool>) -> History {
    let kv = client.kv("secret");
    let mut history = History::default();
    for value in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let path = format!("writer-{number}/key-{value}");
        match kv.put(&path, json!({"value": value}), None).await {
            Ok(_) => {
                history.acknowledged.insert(path, value);
                history.times.push(pace::now());
            }
            Err(_) => history.unknown += 1,
        }
        if !pause.is_zero() {
            pace::pause(pause).await;
        }
    }
    history
}

impl History {
    /// The longest time between two acknowledged writes.
    pub(crate) fn longest_gap(&self) -> Duration {
        self.times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// When the longest time between two acknowledged writes ended.
    pub(crate) fn longest_gap_end(&self) -> Option<Instant> {
        let longest = self.times.windows(2).max_by_key(|pair| pair[1] - pair[0])?;
        Some(longest[1])
    }

    /// Each of these nodes, asked alone, has every acknowledged write.
    pub(crate) async fn check(&self, cluster: &Cluster, places: &[usize]) -> anyhow::Result<()> {
        ensure!(!self.acknowledged.is_empty(), "nothing was written: the run is void");
        for place in places {
            let node = &cluster.ready.nodes[*place];
            let client = cluster.client_of(node).await?;
            let (lost, wrong) = self.compare(&client).await?;
            ensure!(lost == 0 && wrong == 0, "{}: {lost} lost, {wrong} wrong", node.api_addr);
        }
        Ok(())
    }

    /// Reads every acknowledged write back; answers with how many are missing and how many wrong.
    pub(crate) async fn compare(&self, client: &Client) -> anyhow::Result<(u64, u64)> {
        use futures::stream::{StreamExt, TryStreamExt};
        let kv = client.kv("secret");
        futures::stream::iter(&self.acknowledged)
            .map(|(path, value)| {
                let kv = kv.clone();
                async move {
                    let Some(found) = kv.get(path, None).await? else { return Ok((1, 0)) };
                    let right = found.value()?["value"] == json!(value);
                    anyhow::Ok((0, u64::from(!right)))
                }
            })
            .buffer_unordered(32)
            .try_fold((0, 0), |sum, one| async move { Ok((sum.0 + one.0, sum.1 + one.1)) })
            .await
    }
}

//! HTTP requests with an `Idempotency-Key` on a real cluster of three nodes: sent to several of them,
//! at once and one after another, and again after the leader was killed.

mod cluster;

use anyhow::ensure;
use futures::future::join_all;
use serde_json::{Value, json};

use cluster::{Answer, Cluster, POLLS_MAX, pause};

impl Cluster {
    /// Writes the secret with this key, again and again while the cluster has no leader or cannot
    /// tell: what a client does.
    async fn put(&self, node: usize, key: &str, value: u64) -> anyhow::Result<Answer> {
        let token = &self.ready.root_token;
        let headers = format!("x-vault-token: {token}\r\nidempotency-key: {key}\r\n");
        let body = json!({"data": {"value": value}}).to_string();
        for _ in 0..POLLS_MAX {
            let answer = self.ask(node, "POST /v1/secret/data/app", &headers, &body).await?;
            if answer.status < 500 {
                return Ok(answer);
            }
            pause().await;
        }
        anyhow::bail!("no leader was found")
    }

    async fn current_version(&self, node: usize) -> anyhow::Result<u64> {
        for _ in 0..POLLS_MAX {
            let answer = self.as_root(node, "GET /v1/secret/metadata/app", "").await?;
            if answer.status == 200 {
                let answer: Value = serde_json::from_str(&answer.body)?;
                return Ok(answer["data"]["current_version"].as_u64().unwrap_or_default());
            }
            pause().await;
        }
        anyhow::bail!("the secret cannot be read")
    }
}

/// The version that an answer tells of.
fn version(answer: &Answer) -> anyhow::Result<u64> {
    ensure!(answer.status == 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body)?;
    Ok(body["data"]["version"].as_u64().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_key_runs_once_in_the_whole_cluster() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = Cluster::start(directory.path()).await?;
    let leader = cluster.leader()?;
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();

    // One after another, at each node; then at all of them at once.
    for node in [others[0], leader, others[1], others[0]] {
        ensure!(version(&cluster.put(node, "first", 1).await?)? == 1, "at {node}");
    }
    let at_once = (0..9).map(|ask| cluster.put(ask % 3, "second", 2));
    for answer in join_all(at_once).await {
        ensure!(version(&answer?)? == 2);
    }
    ensure!(cluster.current_version(others[0]).await? == 2);

    let conflict = cluster.put(others[1], "first", 7).await?;
    ensure!(conflict.status == 409, "{conflict:?}");
    ensure!(conflict.body.contains("use a new key"), "{conflict:?}");

    // Under way while the leader dies, and sent again by whoever heard nothing.
    let during = (0..4).map(|ask| {
        let (cluster, node) = (&cluster, others[ask % 2]);
        async move { cluster.put(node, &format!("during-{ask}"), 3).await }
    });
    let (during, killed) = futures::join!(join_all(during), async { cluster.kill(leader) });
    killed?;
    let mut versions = Vec::new();
    for (ask, answer) in during.into_iter().enumerate() {
        let told = version(&answer?)?;
        let again = cluster.put(others[(ask + 1) % 2], &format!("during-{ask}"), 3).await?;
        ensure!(version(&again)? == told, "{ask}: {told}, then {again:?}");
        versions.push(told);
    }
    versions.sort_unstable();
    ensure!(versions == [3, 4, 5, 6], "{versions:?}");

    // What the dead leader was told is known to its successor.
    for (key, expected) in [("first", 1), ("second", 2)] {
        for node in &others {
            ensure!(version(&cluster.put(*node, key, expected).await?)? == expected);
        }
    }
    let conflict = cluster.put(others[0], "second", 7).await?;
    ensure!(conflict.status == 409, "{conflict:?}");
    ensure!(cluster.current_version(others[1]).await? == 6);
    Ok(())
}

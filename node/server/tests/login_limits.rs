//! Lock-out and rate quotas on a real cluster of three nodes.

mod cluster;

use anyhow::ensure;
use serde_json::json;

use cluster::{Answer, Cluster, POLLS_MAX, pause};

impl Cluster {
    /// A login, repeated while the cluster has no leader.
    async fn log_in(&self, node: usize, name: &str, password: &str) -> anyhow::Result<Answer> {
        let line = format!("POST /v1/auth/userpass/login/{name}");
        let body = json!({ "password": password }).to_string();
        for _ in 0..POLLS_MAX {
            let answer = self.ask(node, &line, "", &body).await?;
            if answer.status < 500 {
                return Ok(answer);
            }
            pause().await;
        }
        anyhow::bail!("no leader was found")
    }
}

/// THREATS rows 18, 20, 21 and 50, at leader and followers and after a failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_018_limits_hold_on_every_node_and_after_a_failover() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = Cluster::start(directory.path()).await?;
    let enabled =
        cluster.as_root(0, "POST /v1/sys/auth/userpass", r#"{"type":"userpass"}"#).await?;
    ensure!(enabled.status == 204, "{enabled:?}");
    for name in ["anna", "bob", "carl"] {
        let line = format!("POST /v1/auth/userpass/users/{name}");
        let made = cluster.as_root(1, &line, r#"{"password":"right"}"#).await?;
        ensure!(made.status == 204, "{made:?}");
    }
    quotas_count_per_node(&cluster).await?;
    names_that_exist_answer_like_others(&cluster).await?;
    a_count_survives_its_leader(&cluster).await
}

async fn quotas_count_per_node(cluster: &Cluster) -> anyhow::Result<()> {
    let quota = r#"{"rate":1,"interval":"1h","path":"secret/"}"#;
    let made = cluster.as_root(0, "POST /v1/sys/quotas/rate-limit/q", quota).await?;
    ensure!(made.status == 204, "{made:?}");
    let leader = cluster.leader()?;
    let followers = (0..3).filter(|node| *node != leader);
    // The followers hand their writes to the leader, which has its own one left all the same.
    for node in followers.chain([leader]) {
        // A read waits until the node has the quota.
        cluster.as_root(node, "GET /v1/sys/quotas/rate-limit/q", "").await?;
        let line = format!("POST /v1/secret/data/n{node}");
        let first = cluster.as_root(node, &line, r#"{"data":{}}"#).await?;
        ensure!(first.status == 200, "{node} {first:?}");
        let second = cluster.as_root(node, &line, r#"{"data":{}}"#).await?;
        ensure!(second.status == 429, "{node} {second:?}");
        let says_when = |header: &String| header.starts_with("retry-after: 3");
        ensure!(second.headers.iter().any(says_when), "{second:?}");
    }
    Ok(())
}

async fn names_that_exist_answer_like_others(cluster: &Cluster) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    for name in ["anna", "nobody"] {
        let mut answers = Vec::new();
        for node in 0..8 {
            answers.push(cluster.log_in(node % 3, name, "wrong").await?);
        }
        // Locked out, so that the right password says no more.
        answers.push(cluster.log_in(0, name, "right").await?);
        seen.push(answers);
    }
    ensure!(seen[0] == seen[1], "{seen:?}");
    ensure!(seen[0].iter().all(|answer| *answer == seen[0][0]), "{seen:?}");
    ensure!(seen[0][0].status == 403, "{seen:?}");
    Ok(())
}

async fn a_count_survives_its_leader(cluster: &Cluster) -> anyhow::Result<()> {
    let leader = cluster.leader()?;
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    for (node, name) in [(0, "bob"), (1, "BOB"), (2, "%20bob")] {
        ensure!(cluster.log_in(node, name, "wrong").await?.status == 403);
    }
    cluster.kill(leader)?;
    for (node, name) in [(others[0], "bob%20"), (others[1], "Bob")] {
        ensure!(cluster.log_in(node, name, "wrong").await?.status == 403);
    }
    for node in others {
        let locked_out = cluster.log_in(node, "bob", "right").await?;
        ensure!(locked_out.status == 403, "{locked_out:?}");
        let other = cluster.log_in(node, "carl", "right").await?;
        ensure!(other.status == 200, "{other:?}");
    }
    Ok(())
}

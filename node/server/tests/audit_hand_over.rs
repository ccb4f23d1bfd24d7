//! A leader whose audit log takes nothing: another node leads, and the log heals when it can.

mod plain;

use std::path::Path;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use plain::{Process, pause};

/// Three real nodes, each with an audit log in a file. The leader's files may not grow beyond what its
/// audit log has already: that log is by far its longest file, so it alone is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_audit_log_is_full_hands_over_until_it_has_space() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (nodes, token) = cluster(directory.path()).await?;
    let auth = format!("x-vault-token: {token}\r\n");
    let leader = leader(&nodes, &auth).await?;
    let full = &nodes[leader];
    write(full, &auth, "before").await?;

    let log = directory.path().join(format!("node-{}/audit.log", leader + 1));
    limit(full, Some(std::fs::metadata(&log)?.len()))?;
    let refused = full.ask("GET", "secret/before", &auth, "").await?;
    ensure!(refused.0 >= 500, "nothing is served without a record: {refused:?}");
    let mut next = None;
    for _ in 0..HAND_OVER_POLLS {
        let seen = status(&nodes[(leader + 1) % 3]).await?;
        if !seen.is_empty() && seen != address(full) {
            next = Some(seen);
            break;
        }
        pause().await;
    }
    let next = next.context("nobody else leads within five seconds")?;
    let others: Vec<_> = (0..3).filter(|place| *place != leader).collect();
    ensure!(others.iter().any(|place| address(&nodes[*place]) == next), "{next}");
    // Through the full one as well: the leader serves, and writes the record.
    for node in &nodes {
        write(node, &auth, "during").await?;
        let (status, answer) = node.ask("GET", "secret/before", &auth, "").await?;
        ensure!(status == 200 && answer.contains("before"), "{status} {answer}");
    }
    let refused = full.ask("GET", "sys/audit", &auth, "").await?;
    ensure!(refused.0 >= 500, "what only it can tell has no record: {refused:?}");

    limit(full, None)?;
    let mut served = refused;
    for _ in 0..HAND_OVER_POLLS {
        served = full.ask("GET", "sys/audit", &auth, "").await?;
        if served.0 == 200 {
            break;
        }
        pause().await;
    }
    ensure!(served.0 == 200 && served.1.contains("audit.log"), "it does not heal: {served:?}");
    let log = std::fs::read(&log)?;
    let lines = String::from_utf8_lossy(&log[LOG_BYTES..]);
    ensure!(lines.contains(r#""event":"recovered""#), "the log does not say what it missed");
    Ok(())
}

/// Three unsealed members, and the root token.
async fn cluster(base: &Path) -> anyhow::Result<(Vec<Process>, String)> {
    let mut nodes = Vec::<Process>::new();
    let mut token = String::new();
    for number in 1..=3 {
        let name = format!("node-{number}");
        let folder = base.join(&name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("seal.key"), "07".repeat(32))?;
        std::fs::write(folder.join("join.secret"), "5a".repeat(32))?;
        std::fs::File::create(folder.join("audit.log"))?.set_len(u64::try_from(LOG_BYTES)?)?;
        let founder = nodes.first().map(|first| json!({"leader_cluster_addr": first.cluster}));
        let retry_join: Vec<_> = founder.into_iter().collect();
        let extra = json!({
            "storage": {"raft": {"path": "data", "node_id": name, "retry_join": retry_join}},
            "seal": {"static": {"key_file": "seal.key"}},
            "join_secret_file": "join.secret",
            "audit": {"file": {"options": {"file_path": "audit.log"}}},
        });
        let node = Process::start(base, &name, &extra, &[])?;
        if number == 1 {
            node.wait("sys/seal-status", |_| true).await?;
            let (status, made) = node.ask("PUT", "sys/init", "", "{}").await?;
            ensure!(status == 200, "{status} {made}");
            let made: Value = serde_json::from_str(&made)?;
            token = made["root_token"].as_str().context("a root token")?.to_owned();
        }
        node.wait("sys/health?standbyok=true", |health| health["sealed"] == false).await?;
        nodes.push(node);
    }
    let auth = format!("x-vault-token: {token}\r\n");
    let (status, answer) =
        nodes[0].ask("POST", "sys/mounts/secret", &auth, r#"{"type": "kv"}"#).await?;
    ensure!(status == 204, "{status} {answer}");
    all_vote(&nodes[0], &auth).await?;
    Ok((nodes, token))
}

async fn all_vote(node: &Process, auth: &str) -> anyhow::Result<()> {
    for _ in 0..VOTE_POLLS {
        let (_, answer) = node.ask("GET", "sys/storage/raft/configuration", auth, "").await?;
        let answer: Value = serde_json::from_str(&answer)?;
        let servers = answer["data"]["config"]["servers"].as_array().cloned().unwrap_or_default();
        if servers.iter().filter(|server| server["voter"] == true).count() == 3 {
            return Ok(());
        }
        pause().await;
    }
    anyhow::bail!("three nodes do not become three voters")
}

/// Which node leads.
async fn leader(nodes: &[Process], auth: &str) -> anyhow::Result<usize> {
    // Behind a write, so that there is one.
    write(&nodes[0], auth, "first").await?;
    let leads = status(&nodes[0]).await?;
    nodes.iter().position(|node| address(node) == leads).context("no node of ours leads")
}

async fn status(node: &Process) -> anyhow::Result<String> {
    let (_, answer) = node.ask("GET", "sys/leader", "", "").await?;
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(answer["leader_address"].as_str().unwrap_or_default().to_owned())
}

fn address(node: &Process) -> String {
    format!("http://{}", node.api)
}

async fn write(node: &Process, auth: &str, name: &str) -> anyhow::Result<()> {
    let body = json!({"value": name}).to_string();
    let (status, answer) = node.ask("PUT", &format!("secret/{name}"), auth, &body).await?;
    ensure!(status == 204, "{name}: {status} {answer}");
    Ok(())
}

/// How long the node's files may become; whatever they need, where `None`.
fn limit(node: &Process, bytes: Option<u64>) -> anyhow::Result<()> {
    let pid = Pid::from_child(&node.child);
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None })?;
    Ok(())
}

/// What the audit log has before it begins: longer than any other file that a node writes here.
const LOG_BYTES: usize = 128 << 20;
const HAND_OVER_POLLS: u32 = 50;
const VOTE_POLLS: u32 = 300;

//! Nodes leave for good and come back as new ones.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use conclave_sdk::Client;
use serde_json::json;
use tokio::process::Command;

use crate::cluster::{Cluster, Node, conclaved};
use crate::http::Raw;
use crate::pace;

/// Removes a follower, wipes it, lets it join again under its name: it must get another id.
pub(crate) async fn run() -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3"]).await?;
    let client = cluster.client().await?;
    for i in 0..50 {
        client.kv("secret").put(&format!("k{i}"), json!({"i": i}), None).await?;
    }
    let leader = cluster.leader(&client).await?;
    let place = (leader + 1) % 3;
    let old = cluster.ready.nodes[place].clone();
    cluster.kill(place).await?;
    client.operator().remove_member(&old.id.to_string()).await?;
    let members = client.operator().members().await?;
    ensure!(members.len() == 2, "{} members after a removal", members.len());

    let data = old.config.with_file_name("data");
    std::fs::remove_dir_all(data.join("log"))?;
    starts_no_more(&old).await?;
    std::fs::remove_dir_all(&data)?;
    cluster.restart(place)?;
    pace::until(JOIN_MAX, "the wiped node's return", async || {
        let status = cluster.status(&client, &old).await;
        status.is_some_and(|s| s.initialized && !s.sealed && s.node_id != old.id)
    })
    .await?;
    pace::until(JOIN_MAX, "the promotion to voter", async || {
        let members = client.operator().members().await.unwrap_or_default();
        members.iter().filter(|member| member.voter).count() == 3
    })
    .await?;
    let members = client.operator().members().await?;
    ensure!(members.iter().all(|member| member.node_id != old.id), "a removed id is back");
    let direct = cluster.client_of(&old).await?;
    ensure!(direct.kv("secret").get("k49", None).await?.is_some(), "the new node lacks a write");
    join_by_token(&cluster, &client).await?;
    client.operator().step_down().await?;
    ensure!(cluster.leader(&client).await? != leader, "step-down did not move the leadership");
    let held = removed_while_running(&cluster, &client).await?;
    cluster.stop().await?;
    Ok(format!(
        "a removed and wiped node rejoined under its name with a new id; a fourth joined by a token, once; leadership moved; a node removed while it runs serves nothing and refused a write after {} ms",
        held.as_millis()
    ))
}

/// A node that is removed while it runs still has keys and data; nobody answers it any more, so it
/// answers nobody. A write sent to it is refused soon: whoever sent it asks another node.
async fn removed_while_running(cluster: &Cluster, client: &Client) -> anyhow::Result<Duration> {
    let leader = cluster.leader(client).await?;
    let place = (leader + 1) % 3;
    let gone = &cluster.ready.nodes[place];
    // By name: one of the three has another id than it had.
    let raw = Raw::new(&cluster.ready.ca_file, &gone.api_addr, &cluster.ready.root_token)?;
    client.operator().remove_member(&format!("node-{}", place + 1)).await?;
    let sent = pace::now();
    let write = raw.send("POST", "/v1/secret/data/k1", b"{\"data\":{\"i\":0}}").await?;
    ensure!(write.status == 503, "a removed node takes a write: {}", write.status);
    let held = sent.elapsed();
    ensure!(held < HELD_MAX, "a removed node held a write for {held:?}");
    pace::until(JOIN_MAX, "the end of a removed node's service", async || {
        let read = raw.send("GET", "/v1/secret/data/k1", b"").await;
        read.is_ok_and(|answer| answer.status == 503)
    })
    .await?;
    let write = raw.send("POST", "/v1/secret/data/k1", b"{\"data\":{\"i\":0}}").await?;
    ensure!(write.status == 503, "a removed node takes a write: {}", write.status);
    Ok(held)
}

/// A node that lost its log has forgotten its votes: it does not start under its old identity.
async fn starts_no_more(node: &Node) -> anyhow::Result<()> {
    let started = Command::new(conclaved()?)
        .args(["server", "--config"])
        .arg(&node.config)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = pace::within(JOIN_MAX, "the refusal", started).await??;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && words.contains("log/mark is gone"), "{words}");
    Ok(())
}

/// A node that knows no join secret joins by a single-use token.
async fn join_by_token(cluster: &Cluster, client: &Client) -> anyhow::Result<()> {
    let (api, config) = write_newcomer(cluster)?;
    let mut newcomer = Command::new(conclaved()?)
        .args(["server", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(config.with_file_name("node.log"))?)
        .kill_on_drop(true)
        .spawn()?;
    pace::until(JOIN_MAX, "the newcomer's start", async || {
        client.operator().status(Some(&api)).await.is_ok()
    })
    .await?;
    let raw = Raw::new(&cluster.ready.ca_file, &api, &cluster.ready.root_token)?;
    let token = client.operator().create_join_token(60_000).await?.token;
    let body = json!({"join_token": token}).to_string();
    let joined = raw.send("POST", "/v1/sys/storage/raft/join", body.as_bytes()).await?;
    ensure!(joined.status == 200, "joining by token: {} {}", joined.status, joined.body);
    pace::until(JOIN_MAX, "the newcomer's vote", async || {
        let members = client.operator().members().await.unwrap_or_default();
        members.iter().filter(|member| member.voter).count() == 4
    })
    .await?;
    let spent = client.operator().status(Some(&api)).await?;
    ensure!(spent.sealed, "a node was unsealed by peers although its configuration does not ask");
    newcomer.kill().await?;
    std::fs::remove_dir_all(config.with_file_name("data"))?;
    let mut again = Command::new(conclaved()?)
        .args(["server", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    pace::until(JOIN_MAX, "the second start", async || {
        client.operator().status(Some(&api)).await.is_ok_and(|status| !status.initialized)
    })
    .await?;
    let refused = raw.send("POST", "/v1/sys/storage/raft/join", body.as_bytes()).await?;
    ensure!(refused.status == 403, "a spent token: {} {}", refused.status, refused.body);
    again.kill().await?;
    client.operator().remove_member("newcomer").await?;
    Ok(())
}

/// A configuration without join secret and peers, on ports of its own.
pub(crate) fn write_newcomer(cluster: &Cluster) -> anyhow::Result<(String, PathBuf)> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let [api, peer] = [listeners[0].local_addr()?, listeners[1].local_addr()?];
    let folder = cluster.directory.path().join("newcomer");
    std::fs::create_dir(&folder)?;
    let certificate = |file| cluster.ready.nodes[0].config.with_file_name(file);
    let config = json!({
        "api_addr": format!("https://{api}"),
        "cluster_addr": peer.to_string(),
        "listener": {"tcp": {
            "address": api.to_string(),
            "cluster_address": peer.to_string(),
            "tls_cert_file": certificate("api.crt"),
            "tls_key_file": certificate("api.key"),
        }},
        "storage": {"raft": {"path": "data", "node_id": "newcomer"}},
    });
    let path = folder.join("config.json");
    std::fs::write(&path, config.to_string())?;
    Ok((format!("https://{api}"), path))
}

const JOIN_MAX: Duration = Duration::from_secs(30);
/// Far below what a node waits for the end of an election.
const HELD_MAX: Duration = Duration::from_secs(2);

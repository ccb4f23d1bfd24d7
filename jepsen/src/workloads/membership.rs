//! Nodes leave for good and come back as new ones.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::cluster::Cluster;
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
    cluster.kill(place)?;
    client.operator().remove_member(&old.id.to_string()).await?;
    let members = client.operator().members().await?;
    ensure!(members.len() == 2, "{} members after a removal", members.len());

    let data = old.config.with_file_name("data");
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
    client.operator().step_down().await?;
    ensure!(cluster.leader(&client).await? != leader, "step-down did not move the leadership");
    cluster.stop().await?;
    Ok("a removed and wiped node rejoined under its name with a new id; leadership moved".into())
}

const JOIN_MAX: Duration = Duration::from_secs(30);

//! A sealed node replicates and votes, serves nothing, and stays sealed until somebody unseals it.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::cluster::Cluster;
use crate::http::Raw;
use crate::pace;

/// Seals a follower, writes on, restarts it, sees it catch up sealed, unseals it and reads from it.
pub(crate) async fn run() -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3"]).await?;
    let client = cluster.client().await?;
    let leader = cluster.leader(&client).await?;
    let place = (leader + 1) % 3;
    let node = cluster.ready.nodes[place].clone();
    client.operator().seal(&node.api_addr).await?;

    let raw = Raw::new(&cluster.ready.ca_file, &node.api_addr, &cluster.ready.root_token)?;
    let answer = raw.send("GET", "/v1/secret/data/x", b"").await?;
    ensure!(answer.status == 503, "a sealed node answers a read with {}", answer.status);

    cluster.kill(place).await?;
    let mut last = 0;
    for i in 0..WRITES {
        let put = client.kv("secret").put(&format!("k{i}"), json!({"i": i}), None).await?;
        last = put.revision;
    }
    cluster.restart(place)?;
    pace::until(CATCH_UP_MAX, "catching up while sealed", async || {
        let status = cluster.status(&client, &node).await;
        status.is_some_and(|status| status.sealed && status.applied_index >= last)
    })
    .await?;
    // Long enough for a peer to have unsealed it, were it not sealed on purpose.
    pace::pause(Duration::from_secs(2)).await;
    let status = cluster.status(&client, &node).await.context("the node is gone")?;
    ensure!(status.sealed, "a node sealed on purpose was unsealed by itself");

    for key in &cluster.ready.unseal_keys {
        let share = decode_hex(key)?;
        client.operator().unseal(&node.api_addr, share).await?;
    }
    let direct = cluster.client_of(&node).await?;
    let read = direct.kv("secret").get(&format!("k{}", WRITES - 1), None).await?;
    ensure!(read.is_some(), "the unsealed node lacks the last write");
    cluster.stop().await?;
    Ok(format!("{WRITES} writes replicated to a sealed node over a restart, read from it unsealed"))
}

fn decode_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).context("an unseal key is no hex"))
        .collect()
}

const WRITES: u64 = 200;
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

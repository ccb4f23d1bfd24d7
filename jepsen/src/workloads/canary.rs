//! No secret in any sink.

use std::path::Path;

use anyhow::{Context, ensure};
use conclave_sdk::Client;
use serde_json::json;

use crate::cluster::Cluster;
use crate::http::Raw;

/// Writes a string nobody else writes as value, path and key name, through every node and both
/// doors, makes nodes forward, restart, snapshot and stream a snapshot, and looks for it everywhere.
pub(crate) async fn run() -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3", "--record-peer-frames"]).await?;
    let client = cluster.client().await?;
    write_everywhere(&cluster).await?;
    snapshot_often(&mut cluster, &client).await?;
    write_everywhere(&cluster).await?;
    let missed = stream_snapshot(&mut cluster, &client).await?;
    let frames = recorded_frames(cluster.directory.path())?;
    let mut searched = Searched::default();
    search(cluster.directory.path(), &mut searched)?;
    ensure!(searched.snapshots >= 3, "only {} snapshots: the run is void", searched.snapshots);
    ensure!(searched.hits.is_empty(), "the canary stands in {:?}", searched.hits);
    cluster.stop().await?;
    Ok(format!(
        "0 hits in {} files ({} MiB; {} snapshots; {missed} missed writes came as a streamed one; \
         {} KiB of peer frames above TLS) and 6 metric pages",
        searched.files,
        searched.bytes >> 20,
        searched.snapshots,
        frames >> 10
    ))
}

async fn write_everywhere(cluster: &Cluster) -> anyhow::Result<()> {
    for (i, node) in cluster.ready.nodes.iter().enumerate() {
        let direct = cluster.client_of(node).await?;
        let path = format!("{CANARY}-path-{i}/{CANARY}-leaf");
        let mut data = serde_json::Map::new();
        data.insert(format!("{CANARY}-key"), json!(format!("{CANARY}-value")));
        for _ in 0..WRITES_EACH {
            direct.kv("secret").put(&path, json!(data), None).await?;
        }
        ensure!(direct.kv("secret").get(&path, None).await?.is_some(), "a write is missing");
        let raw = Raw::new(&cluster.ready.ca_file, &node.api_addr, &cluster.ready.root_token)?;
        let body = format!(r#"{{"data":{{"{CANARY}-key":"{CANARY}-value"}}}}"#);
        let written = raw.send("POST", &format!("/v1/secret/data/{path}"), body.as_bytes()).await?;
        ensure!(written.status == 200, "HTTP write: {}", written.status);
        // Malformed input must not be echoed into a log either.
        let broken = format!(r#"{{"data":{{"{CANARY}-key":"{CANARY}-value""#);
        let refused =
            raw.send("POST", &format!("/v1/secret/data/{path}"), broken.as_bytes()).await?;
        ensure!(refused.status == 400, "broken JSON: {}", refused.status);
        ensure!(!refused.body.contains(CANARY), "the canary stands in an error");
        let metrics = raw.send("GET", "/v1/sys/metrics?format=prometheus", b"").await?;
        ensure!(metrics.status == 200, "metrics: {}", metrics.status);
        ensure!(!metrics.body.contains(CANARY), "the canary stands in a metric");
        ensure!(metrics.body.contains("conclave_raft_term"), "the metrics lack the term");
    }
    Ok(())
}

/// Makes every node, by a restart of each, log all it can and keep nothing but a snapshot of what it
/// applied.
async fn snapshot_often(cluster: &mut Cluster, client: &Client) -> anyhow::Result<()> {
    for place in 0..cluster.ready.nodes.len() {
        let file = cluster.ready.nodes[place].config.clone();
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        config["log_level"] = json!("trace");
        config["storage"]["raft"]["snapshot_entries"] = json!(16);
        config["storage"]["raft"]["trailing_logs"] = json!(0);
        std::fs::write(&file, config.to_string())?;
        cluster.end(place).await?;
        cluster.restart(place)?;
        cluster.wait_caught_up(client, place, 1).await?;
    }
    Ok(())
}

/// Lets a follower miss so much that a snapshot is all that can bring it up to date.
async fn stream_snapshot(cluster: &mut Cluster, client: &Client) -> anyhow::Result<usize> {
    for _ in 0..STREAMS_MAX {
        if miss_writes(cluster, client).await? {
            return Ok(MISSED_WRITES);
        }
    }
    // The figures say so: nothing was looked for in a streamed snapshot then.
    Ok(0)
}

/// Whether what a follower missed came as a snapshot: a leader may still have all of it in its log.
async fn miss_writes(cluster: &mut Cluster, client: &Client) -> anyhow::Result<bool> {
    let follower = (cluster.leader(client).await? + 1) % cluster.ready.nodes.len();
    cluster.end(follower).await?;
    for i in 0..MISSED_WRITES {
        let mut data = serde_json::Map::new();
        data.insert(format!("{CANARY}-key"), json!(format!("{CANARY}-missed")));
        client.kv("secret").put(&format!("{CANARY}-missed/{i}"), json!(data), None).await?;
    }
    let leader = &cluster.ready.nodes[cluster.leader(client).await?];
    let status = cluster.status(client, leader).await.context("the leader does not answer")?;
    cluster.restart(follower)?;
    cluster.wait_caught_up(client, follower, status.applied_index).await?;
    let log = cluster.directory.path().join(format!("restarted-{follower}.log"));
    let log = std::fs::read_to_string(log).context("the follower's log")?;
    Ok(log.contains("snapshot imported"))
}

#[derive(Default)]
struct Searched {
    files: u64,
    snapshots: u64,
    bytes: u64,
    hits: Vec<String>,
}

/// Looks through every file below `folder`.
fn search(folder: &Path, searched: &mut Searched) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, searched)?;
            continue;
        }
        // A file may go while we look: segments roll, sled renames.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        searched.files += 1;
        searched.snapshots += u64::from(path.extension().is_some_and(|end| end == "snapshot"));
        searched.bytes += bytes.len() as u64;
        if bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
            searched.hits.push(path.display().to_string());
        }
    }
    Ok(())
}

/// Bytes of recorded peer frames. Every node has some, and they are in clear: the nodes' names, which
/// are no secret, stand in them.
fn recorded_frames(folder: &Path) -> anyhow::Result<u64> {
    let mut total = 0;
    for node in ["node-1", "node-2", "node-3"] {
        let file = folder.join("cluster").join(node).join("peer-frames.bin");
        let bytes = std::fs::read(file).context("no peer frame was recorded: the run is void")?;
        let readable = bytes.windows(NAME.len()).any(|window| window == NAME);
        ensure!(readable, "what {node} recorded cannot be read: the run is void");
        total += bytes.len() as u64;
    }
    Ok(total)
}

const CANARY: &str = "KanarienvogelZ7Q4";
const NAME: &[u8] = b"node-2";
const WRITES_EACH: usize = 20;
const STREAMS_MAX: u32 = 4;
/// More than a node keeps in its log.
const MISSED_WRITES: usize = 100;

//! No secret in any sink.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::cluster::Cluster;
use crate::http::Raw;

/// Writes a string nobody else writes as value, path and key name, through every node and both
/// doors, makes nodes snapshot, restart and forward, and looks for it everywhere.
pub(crate) async fn run() -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3", "--record-peer-frames"]).await?;
    let client = cluster.client().await?;
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
        let refused = raw.send("POST", &format!("/v1/secret/data/{path}"), broken.as_bytes()).await?;
        ensure!(refused.status == 400, "broken JSON: {}", refused.status);
        ensure!(!refused.body.contains(CANARY), "the canary stands in an error");
        let metrics = raw.send("GET", "/v1/sys/metrics?format=prometheus", b"").await?;
        ensure!(metrics.status == 200, "metrics: {}", metrics.status);
        ensure!(!metrics.body.contains(CANARY), "the canary stands in a metric");
        ensure!(metrics.body.contains("conclave_raft_term"), "the metrics lack the term");
    }
    let place = cluster.leader(&client).await?;
    cluster.kill(place)?;
    cluster.restart(place)?;
    cluster.wait_caught_up(&client, place, 1).await?;
    let frames = recorded_frames(cluster.directory.path())?;
    let mut searched = Searched::default();
    search(cluster.directory.path(), &mut searched)?;
    ensure!(frames > 0, "no peer frame was recorded: the run is void");
    ensure!(searched.hits.is_empty(), "the canary stands in {:?}", searched.hits);
    cluster.stop().await?;
    Ok(format!(
        "0 hits in {} files ({} MiB, of it {} KiB of peer frames above TLS) and 3 metric pages",
        searched.files,
        searched.bytes >> 20,
        frames >> 10
    ))
}

#[derive(Default)]
struct Searched {
    files: u64,
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
        searched.bytes += bytes.len() as u64;
        if bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
            searched.hits.push(path.display().to_string());
        }
    }
    Ok(())
}

/// Bytes of recorded peer frames.
fn recorded_frames(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder.join("cluster")).context("the cluster's folder")? {
        let recorded = entry?.path().join("peer-frames.bin");
        bytes += std::fs::metadata(recorded).map(|m| m.len()).unwrap_or(0);
    }
    Ok(bytes)
}

const CANARY: &str = "KanarienvogelZ7Q4";
const WRITES_EACH: usize = 20;

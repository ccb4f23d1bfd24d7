//! No secret in any sink.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::Client;
use serde_json::json;

use crate::cluster::Cluster;
use crate::http::Raw;
use crate::pace;

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
        cluster.kill(place).await?;
        cluster.restart(place)?;
        cluster.wait_caught_up(client, place, 1).await?;
    }
    Ok(())
}

/// Lets a follower miss so much that a snapshot is all that can bring it up to date; answers with how
/// many writes came as one. An error where none was sent: then nothing was looked for in one.
async fn stream_snapshot(cluster: &mut Cluster, client: &Client) -> anyhow::Result<u64> {
    for _ in 0..TRIES_MAX {
        let leader = cluster.leader(client).await?;
        let follower = (leader + 1) % cluster.ready.nodes.len();
        cluster.kill(follower).await?;
        let (missed, last) = miss_writes(cluster, client).await?;
        let led_on = cluster.leader(client).await? == leader;
        cluster.restart(follower)?;
        cluster.wait_caught_up(client, follower, last).await?;
        if cluster.words(follower).contains("snapshot received") {
            return Ok(missed);
        }
        // Another leader may still have what the one before had cut.
        ensure!(
            !led_on,
            "a follower came back without the snapshot that alone could bring it back"
        );
    }
    anyhow::bail!("the leader changed each time that a follower was to be sent a snapshot")
}

/// Writes until the leader has cut its log behind the first of these writes: when it does depends on
/// its snapshots, and on when it notices that nobody is being sent these entries. Answers with how
/// many writes there were, and the last one's revision.
async fn miss_writes(cluster: &Cluster, client: &Client) -> anyhow::Result<(u64, u64)> {
    let first = write_missed(client, 0).await?;
    let writing = async {
        let (mut missed, mut last) = (1, first);
        while purged(cluster, client).await? < first {
            for _ in 0..MISSED_AT_ONCE {
                last = write_missed(client, missed).await?;
                missed += 1;
            }
        }
        anyhow::Ok((missed, last))
    };
    pace::within(CUT_MAX, "the cutting of a leader's log", writing).await?
}

/// The entry's index.
async fn write_missed(client: &Client, number: u64) -> anyhow::Result<u64> {
    let mut data = serde_json::Map::new();
    data.insert(format!("{CANARY}-key"), json!(format!("{CANARY}-missed")));
    let path = format!("{CANARY}-missed/{number}");
    Ok(client.kv("secret").put(&path, json!(data), None).await?.revision)
}

/// The newest entry that the leader's log no longer has.
async fn purged(cluster: &Cluster, client: &Client) -> anyhow::Result<u64> {
    let leader = &cluster.ready.nodes[cluster.leader(client).await?];
    let raw = Raw::new(&cluster.ready.ca_file, &leader.api_addr, &cluster.ready.root_token)?;
    let page = raw.send("GET", "/v1/sys/metrics?format=prometheus", b"").await?.body;
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix("conclave_raft_purged_index "));
    let value = value.context("the metrics lack what was cut from the log")?;
    value.trim().parse().context("an index")
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
const TRIES_MAX: u32 = 3;
const MISSED_AT_ONCE: u64 = 16;
/// Far more than a snapshot of this state and a few tries to reach a dead node take.
const CUT_MAX: Duration = Duration::from_secs(30);

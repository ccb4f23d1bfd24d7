//! Starting, reloading and stopping, as an operator does it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;

use super::writers::Writers;
use crate::cluster::{Cluster, conclaved};
use crate::pace;

/// A second process on a data directory is refused; files are private; `SIGHUP` reloads; `SIGTERM`
/// hands leadership over; a kept data directory starts again.
pub(crate) async fn run() -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3"]).await?;
    let client = cluster.client().await?;
    client.kv("secret").put("kept", json!({"value": 1}), None).await?;

    second_process_is_refused(&cluster).await?;
    let files = everything_is_private(cluster.directory.path().join("cluster").as_path())?;
    reload(&cluster).await?;
    let gap = hand_over(&mut cluster).await?;

    let directory = cluster.halt().await?;
    let again = Cluster::start_in(directory, &["--nodes", "3"]).await?;
    let client = again.client().await?;
    let kept = client.kv("secret").get("kept", None).await?.context("the write is gone")?;
    ensure!(kept.value()?["value"] == json!(1), "the value changed over a restart");
    again.stop().await?;
    Ok(format!(
        "{files} private files and folders; SIGTERM of the leader stopped writes for {} ms; a kept directory starts again",
        gap.as_millis()
    ))
}

async fn second_process_is_refused(cluster: &Cluster) -> anyhow::Result<()> {
    // Other ports, so that it is the directory that refuses.
    let original = &cluster.ready.nodes[0].config;
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(original)?)?;
    config["listener"]["tcp"]["address"] = json!("127.0.0.1:0");
    config["listener"]["tcp"]["cluster_address"] = json!("127.0.0.1:0");
    let copy = original.with_file_name("second.json");
    std::fs::write(&copy, config.to_string())?;
    let second = Command::new(conclaved()?)
        .args(["server", "--config"])
        .arg(&copy)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = pace::within(Duration::from_secs(20), "the refusal", second).await??;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "a second process runs on the same directory");
    ensure!(words.contains("in use"), "the refusal does not say why: {words}");
    std::fs::remove_file(copy)?;
    Ok(())
}

/// Every file 0600 or stricter, every folder 0700, whatever the umask.
fn everything_is_private(folder: &Path) -> anyhow::Result<u64> {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Files come and go while nodes run.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        ensure!(mode & 0o077 == 0, "{} has mode {mode:o}", path.display());
        seen += 1;
        if metadata.is_dir() {
            seen += everything_is_private(&path)?;
        }
    }
    Ok(seen)
}

/// A new log level is taken, and the node goes on serving.
async fn reload(cluster: &Cluster) -> anyhow::Result<()> {
    let node = &cluster.ready.nodes[0];
    let text = std::fs::read_to_string(&node.config)?;
    std::fs::write(&node.config, text.replace("\"info\"", "\"debug\""))?;
    cluster.signal(0, Signal::HUP)?;
    let log = node.config.with_file_name("node.log");
    pace::until(Duration::from_secs(10), "the reload", async || {
        std::fs::read_to_string(&log).is_ok_and(|text| {
            text.contains("certificate files read again") && text.contains("level=Debug")
        })
    })
    .await?;
    let client = cluster.client_of(node).await?;
    ensure!(client.kv("secret").get("kept", None).await?.is_some(), "a reload broke the node");
    Ok(())
}

/// Stops the leader in good order while clients write; answers with the longest gap.
async fn hand_over(cluster: &mut Cluster) -> anyhow::Result<Duration> {
    let observer = cluster.client().await?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(cluster.client().await?);
    }
    let writers = Writers::start(clients);
    pace::pause(Duration::from_secs(1)).await;
    let leader = cluster.leader(&observer).await?;
    cluster.signal(leader, Signal::TERM)?;
    pace::pause(Duration::from_secs(2)).await;
    let history = writers.stop().await?;
    let gap = history.longest_gap();
    ensure!(gap < HAND_OVER_MAX, "a planned stop of the leader stopped writes for {gap:?}");
    cluster.wait_ended(leader).await?;
    cluster.restart(leader)?;
    cluster.wait_caught_up(&observer, leader, 1).await?;
    let (lost, wrong) = history.compare(&observer).await?;
    ensure!(lost == 0 && wrong == 0, "{lost} lost, {wrong} wrong");
    Ok(gap)
}

/// Far below what an election would take (1.2 s at the least).
const HAND_OVER_MAX: Duration = Duration::from_millis(1000);

//! The audit log of a real node: its lines, their chain, rotation, and what an API may do.

mod node;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::{Client, Operation};
use serde_json::{Value, json};

use node::Node;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_does_is_in_its_log_across_rotation_and_restart() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let base = directory.path();
    let (log, moved) = (base.join("audit.log"), base.join("audit.log.1"));
    let extra = json!({"audit": {"file": {"options": {"file_path": "audit.log"}}}});
    let (node, token) = Node::found_with(base, &extra).await?;
    let client = node.client(&token).await?;
    enable_kv(&client).await?;
    client.kv("secret").put("app", &json!({"password": "canary-1"}), None).await?;
    ensure!(client.kv("secret").get("nothing", None).await?.is_none());

    std::fs::rename(&log, &moved)?;
    node.hang_up()?;
    for _ in 0..POLLS_MAX {
        if log.exists() {
            break;
        }
        pause().await;
    }
    client.kv("secret").get("app", None).await?.context("it was written")?;
    drop(node);
    let node = Node::start_with(base, &extra)?;
    let client = node.client(&token).await?;
    client.kv("secret").get("app", None).await?.context("it was written")?;
    drop(node);

    let text = [std::fs::read_to_string(&moved)?, std::fs::read_to_string(&log)?].concat();
    ensure!(!text.contains("canary-1") && !text.contains(&token), "a secret is in the log");
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let told = |kind: &str, path: &str| {
        let told = |line: &&Value| line["type"] == kind && line["request"]["path"] == path;
        lines.iter().filter(told).count()
    };
    for (path, times) in [("secret/data/app", 3), ("secret/data/nothing", 1)] {
        ensure!(told("request", path) == times && told("response", path) == times, "{path}");
    }
    // The log begins with how the cluster was made, and no share or token of it is there.
    for kind in ["request", "response"] {
        ensure!(told(kind, "sys/init") == 1, "{kind} of sys/init");
    }
    let of_app =
        |line: &&Value| line["type"] == "response" && line["request"]["path"] == "secret/data/app";
    let answer = lines.iter().find(of_app).context("an answer")?;
    ensure!(answer["auth"]["display_name"] == "root", "{answer}");
    ensure!(answer["request"]["remote_address"] == "127.0.0.1", "{answer}");
    let (whole, report) = verify(&[&moved, &log])?;
    ensure!(whole, "{report}");
    let edited = std::fs::read_to_string(&log)?.replacen("secret/data/app", "secret/data/abc", 1);
    std::fs::write(&log, edited)?;
    let (whole, report) = verify(&[&moved, &log])?;
    ensure!(!whole && report.contains("edited"), "{report}");
    Ok(())
}

/// THREATS row 75: without a word of the node's own configuration no API enables a device, and with
/// it only a file inside the directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_075_an_api_enables_a_device_only_where_the_configuration_allows() -> anyhow::Result<()>
{
    let directory = tempfile::tempdir()?;
    let base = directory.path();
    std::fs::create_dir(base.join("logs"))?;
    let (node, token) = Node::found_with(base, &json!({})).await?;
    let client = node.client(&token).await?;
    let inside = base.join("logs/audit.log");
    ensure!(enable(&client, &inside).await.is_err(), "nothing is allowed");
    drop(node);

    let node = Node::start_with(base, &json!({"audit_api_directory": "logs"}))?;
    let client = node.client(&token).await?;
    for outside in [base.join("audit.log"), base.join("logs/../audit.log"), "/dev/null".into()] {
        ensure!(enable(&client, &outside).await.is_err(), "{}", outside.display());
    }
    enable(&client, &inside).await?;
    call(&client, Operation::Read, "sys/mounts", None).await?;
    ensure!(std::fs::read_to_string(&inside)?.contains("sys/mounts"));
    call(&client, Operation::Delete, "sys/audit/api", None).await?;
    call(&client, Operation::Read, "sys/mounts", None).await?;
    let length = std::fs::metadata(&inside)?.len();
    call(&client, Operation::Read, "sys/mounts", None).await?;
    ensure!(std::fs::metadata(&inside)?.len() == length, "it was disabled");
    ensure!(verify(&[&inside])?.0);
    Ok(())
}

/// A node that is stopped has committed its very last line, so that whatever is taken from the end of
/// its log shows; and it goes on after it, over an older copy too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_line_of_a_node_that_was_stopped_has_an_anchor() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let base = directory.path();
    let log = base.join("audit.log");
    let extra = json!({"audit": {"file": {"options": {"file_path": "audit.log"}}}});
    let (node, token) = Node::found_with(base, &extra).await?;
    let client = node.client(&token).await?;
    enable_kv(&client).await?;
    node.stop()?;
    let first = std::fs::read_to_string(&log)?;
    let lines = first.lines().count();

    let node = Node::start_with(base, &extra)?;
    let client = node.client(&token).await?;
    let answer = client.logical().call(Operation::Read, "sys/audit-anchors", None).await?;
    let answer: Value = serde_json::from_slice(&answer.data)?;
    let known = &answer["anchors"][0];
    ensure!(known["node"] == "node-1" && known["device"] == "file/", "{answer}");
    let heads = known["anchors"].as_array().context("anchors")?;
    let newest = heads.last().and_then(Value::as_str).context("an anchor")?;
    ensure!(newest.starts_with(&format!("{lines}:")), "{newest}, not of line {lines}");
    node.stop()?;

    let cut = first.lines().take(lines - 1).map(|line| format!("{line}\n"));
    std::fs::write(&log, cut.collect::<String>())?;
    ensure!(verify(&[&log])?.0, "the lines alone cannot tell");
    let (whole, report) = verify_by(newest, &[&log])?;
    ensure!(!whole && report.contains(&format!("record {lines}")), "{report}");

    let node = Node::start_with(base, &extra)?;
    let client = node.client(&token).await?;
    call(&client, Operation::Read, "sys/mounts", None).await?;
    node.stop()?;
    let (whole, report) = verify(&[&log])?;
    ensure!(!whole && report.contains("missing before it"), "{report}");
    Ok(())
}

async fn enable(client: &Client, path: &Path) -> anyhow::Result<()> {
    let body = json!({"type": "file", "options": {"file_path": path}});
    call(client, Operation::Write, "sys/audit/api", Some(&body)).await
}

async fn enable_kv(client: &Client) -> anyhow::Result<()> {
    let body = json!({"type": "kv", "options": {"version": "2"}});
    call(client, Operation::Write, "sys/mounts/secret", Some(&body)).await
}

async fn call(
    client: &Client,
    operation: Operation,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<()> {
    client.logical().call(operation, path, body).await?;
    Ok(())
}

/// Whether `conclaved audit verify` finds the log whole from its first line on, and its words.
fn verify(files: &[&Path]) -> anyhow::Result<(bool, String)> {
    let command = Command::new(env!("CARGO_BIN_EXE_conclaved"))
        .args(["audit", "verify", "--from-start"])
        .args(files)
        .output()?;
    Ok((command.status.success(), String::from_utf8(command.stdout)?))
}

/// The same with a head that the cluster committed.
fn verify_by(anchor: &str, files: &[&Path]) -> anyhow::Result<(bool, String)> {
    let command = Command::new(env!("CARGO_BIN_EXE_conclaved"))
        .args(["audit", "verify", "--from-start", "--anchor", anchor])
        .args(files)
        .output()?;
    Ok((command.status.success(), String::from_utf8(command.stdout)?))
}

async fn pause() {
    conclave_server::system::ports().clock.sleep(Duration::from_millis(50)).await;
}

const POLLS_MAX: u32 = 100;

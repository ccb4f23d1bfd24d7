//! A data directory of format 1, made once and never again: every later version starts on it and
//! serves what it holds. `format_1/README.md` says what it holds and how it was made.

mod node;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use conclave_sdk::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use node::Node;

/// What `format_1/expected.json` says of the directory.
#[derive(Deserialize)]
struct Expected {
    root_token: String,
    epoch: u64,
    /// Path to the data of each version that can be read.
    secrets: BTreeMap<String, BTreeMap<u64, Value>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_starts_on_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    unpack(directory.path())?;
    let expected: Expected = read_json(&fixture().join("expected.json"))?;
    // Twice: what the first start makes of it is format 1 still, or the next one.
    for round in 0..2 {
        let node = Node::start(directory.path())?;
        let client = node.client(&expected.root_token).await?;
        check(&client, &expected).await?;
        let path = format!("written-by-a-later-version/{round}");
        client.kv("secret").put(&path, &json!({ "round": round }), None).await?;
    }
    let node = Node::start(directory.path())?;
    let client = node.client(&expected.root_token).await?;
    let names = client.kv("secret").list("written-by-a-later-version").await?;
    ensure!(names == ["0", "1"], "{names:?}");
    Ok(())
}

async fn check(client: &Client, expected: &Expected) -> anyhow::Result<()> {
    let kv = client.kv("secret");
    ensure!(!expected.secrets.is_empty(), "the fixture expects nothing");
    for (path, versions) in &expected.secrets {
        for (version, data) in versions {
            let secret = kv.get(path, Some(*version)).await?;
            let secret = secret.with_context(|| format!("{path} version {version} is gone"))?;
            ensure!(secret.value()? == *data, "{path} version {version}");
        }
    }
    let membership = client.operator().membership().await?;
    ensure!(membership.epoch == expected.epoch, "epoch {}", membership.epoch);
    Ok(())
}

fn unpack(into: &Path) -> anyhow::Result<()> {
    let archive = fixture().join("directory.tar.gz");
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(into).status()?;
    ensure!(status.success(), "tar ended with {status}");
    Ok(())
}

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format_1")
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> anyhow::Result<T> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

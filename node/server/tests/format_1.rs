//! A data directory of format 1, made once and never again: every later version starts on it and
//! serves what it holds. `format_1/README.md` says what it holds and how it was made.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::{Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};

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

/// A node on the unpacked directory; dropped, it is killed.
struct Node {
    process: Child,
    api: String,
}

impl Node {
    fn start(base: &Path) -> anyhow::Result<Self> {
        let (api, cluster) = (free_address()?, free_address()?);
        let config = json!({
            "api_addr": format!("https://{api}"),
            "cluster_addr": cluster,
            "listener": {"tcp": {"address": api, "cluster_address": cluster}},
            "storage": {"raft": {"path": "data", "node_id": "node-1"}},
            "seal": {"static": {"key_file": "seal.key"}},
        });
        let file = base.join("config.json");
        std::fs::write(&file, config.to_string())?;
        let process = Command::new(env!("CARGO_BIN_EXE_conclaved"))
            .args(["server", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("conclaved cannot be started")?;
        Ok(Self { process, api: format!("https://{api}") })
    }

    /// Waits until the node serves.
    async fn client(&self, token: &str) -> anyhow::Result<Client> {
        let mut config = Config::new([self.api.clone()]).with_token(token);
        config.danger_accept_invalid_certs = true;
        // The membership names the address that the node had when the directory was made.
        config.discover = false;
        let mut last = None;
        for _ in 0..STARTING_POLLS_MAX {
            match Client::connect(config.clone()).await {
                Ok(client) => match client.kv("secret").list("").await {
                    Ok(_) => return Ok(client),
                    Err(error) => last = Some(error),
                },
                Err(error) => last = Some(error),
            }
            conclave_server::system::ports().clock.sleep(POLL).await;
        }
        anyhow::bail!("the node does not serve: {last:?}")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
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

const POLL: Duration = Duration::from_millis(100);
const STARTING_POLLS_MAX: u32 = 600;

//! The cluster under load: `conclaved dev`, as a user starts it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use conclave_sdk::{Client, Config};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::http::Http;
use crate::pace::until;
use crate::programs;

#[derive(Deserialize)]
struct Ready {
    ca_file: PathBuf,
    root_token: String,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: u64,
    pid: u32,
    api_addr: String,
    config: PathBuf,
}

/// Three nodes, and the files they leave.
pub(crate) struct Cluster {
    ready: Ready,
    supervisor: Child,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts the `conclaved` that was built beside this program.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (ready, supervisor) = supervise(directory.path()).await?;
        Ok(Self { ready, supervisor, directory })
    }

    /// The same with an audit log of each node in a file.
    pub(crate) async fn start_audited() -> anyhow::Result<Self> {
        let cluster = Self::start().await?;
        let Self { ready, supervisor, directory } = cluster;
        end(supervisor).await?;
        for node in &ready.nodes {
            let mut config: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&node.config)?)?;
            config["audit"] =
                serde_json::json!({"file": {"bench": {"options": {"file_path": "audit.log"}}}});
            std::fs::write(&node.config, serde_json::to_vec_pretty(&config)?)?;
        }
        let (ready, supervisor) = supervise(directory.path()).await?;
        Ok(Self { ready, supervisor, directory })
    }

    /// Requests over HTTP to one node, with this token or the root token.
    pub(crate) fn http(&self, address: &str, token: Option<&str>) -> anyhow::Result<Http> {
        Http::new(&self.ready.ca_file, address, token.unwrap_or(&self.ready.root_token))
    }

    /// The leader's address first, then the others'.
    pub(crate) async fn addresses(&self) -> anyhow::Result<Vec<String>> {
        let leader = self.address_of(true).await?;
        let all = self.ready.nodes.iter().map(|node| node.api_addr.clone());
        let mut addresses: Vec<_> = all.filter(|address| *address != leader).collect();
        addresses.insert(0, leader);
        Ok(addresses)
    }

    /// Processes of the nodes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.ready.nodes.iter().map(|node| node.pid).collect()
    }

    /// A client that uses only the node at `address`.
    pub(crate) async fn client(&self, address: &str, connections: usize) -> anyhow::Result<Client> {
        let mut config = Config::new([address])
            .with_ca_file(&self.ready.ca_file)
            .with_token(self.ready.root_token.clone());
        config.discover = false;
        config.connections_per_node = connections;
        Ok(Client::connect(config).await?)
    }

    /// The leader's address, or one of a follower.
    pub(crate) async fn address_of(&self, wants_leader: bool) -> anyhow::Result<String> {
        let any = self.client(&self.ready.nodes[0].api_addr, 1).await?;
        let leader = any.operator().status(Some(&self.ready.nodes[0].api_addr)).await?.leader_id;
        let node = self.ready.nodes.iter().find(|node| (node.id == leader) == wants_leader);
        Ok(node.context("no such node")?.api_addr.clone())
    }

    /// Mean times inside the leader, from its metrics.
    pub(crate) async fn write_parts(&self) -> anyhow::Result<String> {
        let leader = self.address_of(true).await?;
        let client = self.client(&leader, 1).await?;
        let text = client
            .logical()
            .call(conclave_sdk::Operation::Read, "sys/metrics", None)
            .await?
            .value()?;
        let text = text.as_str().unwrap_or_default();
        let mean = |name: &str| {
            let value = |suffix: &str| {
                let name = format!("{name}_{suffix}");
                text.lines()
                    .filter(|line| line.starts_with(&name))
                    .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                    .sum::<f64>()
            };
            value("sum") / value("count").max(1.0) * 1e6
        };
        Ok(format!(
            "  fsync of the leader's log            {:>8.0} us\n  proposal: queue, fsync, quorum, apply {:>7.0} us",
            mean("conclave_log_fsync_seconds"),
            mean("conclave_raft_proposal_seconds"),
        ))
    }

    /// Ends the cluster.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        end(self.supervisor).await
    }
}

/// Starts `conclaved dev` with its data in `directory`, or what is there already.
async fn supervise(directory: &Path) -> anyhow::Result<(Ready, Child)> {
    let ready_file = directory.join("ready.json");
    match std::fs::remove_file(&ready_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut supervisor = Command::new(programs::conclaved()?)
        .args(["dev", "--nodes", "3", "--data-dir"])
        .arg(directory.join("cluster"))
        .arg("--ready-file")
        .arg(&ready_file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    until(START_MAX, "the start of a cluster", async || {
        let ended = supervisor.try_wait()?;
        anyhow::ensure!(ended.is_none(), "conclaved dev ended before its cluster was ready");
        Ok(ready_file.exists())
    })
    .await?;
    Ok((serde_json::from_slice(&std::fs::read(&ready_file)?)?, supervisor))
}

async fn end(mut supervisor: Child) -> anyhow::Result<()> {
    let pid = supervisor.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    supervisor.wait().await?;
    Ok(())
}

const START_MAX: Duration = Duration::from_secs(60);

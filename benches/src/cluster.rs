//! The cluster under load: `conclaved dev`, as a user starts it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use conclave_sdk::{Client, Config};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::load::Operation;
use crate::pace::pause;
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
}

/// Three nodes, and the files they leave.
pub(crate) struct Cluster {
    ready: Ready,
    supervisor: Child,
    _directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts the `conclaved` that was built beside this program.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let conclaved = programs::conclaved()?;
        let directory = tempfile::tempdir()?;
        let ready_file = directory.path().join("ready.json");
        let supervisor = Command::new(conclaved)
            .args(["dev", "--nodes", "3", "--ready-file"])
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        for _ in 0..START_POLLS_MAX {
            if ready_file.exists() {
                let ready = serde_json::from_slice(&std::fs::read(&ready_file)?)?;
                return Ok(Self { ready, supervisor, _directory: directory });
            }
            pause(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the cluster did not come up")
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

    /// The node that this operation goes to.
    pub(crate) async fn address_for(&self, operation: Operation) -> anyhow::Result<String> {
        let any = self.client(&self.ready.nodes[0].api_addr, 1).await?;
        let leader = any.operator().status(Some(&self.ready.nodes[0].api_addr)).await?.leader_id;
        let wants_leader = operation != Operation::GetFollower;
        let node = self.ready.nodes.iter().find(|node| (node.id == leader) == wants_leader);
        Ok(node.context("no such node")?.api_addr.clone())
    }

    /// Mean times inside the leader, from its metrics.
    pub(crate) async fn write_parts(&self) -> anyhow::Result<String> {
        let leader = self.address_for(Operation::Put).await?;
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
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.supervisor.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.supervisor.wait().await?;
        Ok(())
    }
}

const START_POLLS_MAX: usize = 600;

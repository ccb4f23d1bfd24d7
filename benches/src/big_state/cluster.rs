//! Three nodes whose processes this program starts itself, each under its memory limit.
//!
//! `conclaved dev` makes the cluster and its files once; then every node is started by hand with
//! the static seal, so that it unseals by itself whenever it comes up.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use conclave_sdk::{Client, Config, NodeStatus, Timeouts};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};

use super::limit::Limit;
use super::sampler::{NODES, Sampler};
use crate::pace;
use crate::programs::conclaved;

#[derive(Deserialize)]
struct Ready {
    ca_file: PathBuf,
    root_token: String,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    name: String,
    api_addr: String,
    data_dir: PathBuf,
    config: PathBuf,
}

/// The nodes, those that run and those that do not.
pub(crate) struct Cluster {
    ready: Ready,
    /// Before the limits: a group cannot be removed while a process is in it.
    running: Vec<Option<Child>>,
    limits: Vec<Limit>,
    pub(crate) directory: PathBuf,
}

/// When a node builds snapshots.
#[derive(Clone, Copy)]
pub(crate) struct SnapshotRule {
    /// After this many entries.
    pub(crate) entries: u64,
    /// Entries that stay in the log behind it.
    pub(crate) keep: u64,
}

impl Cluster {
    /// Makes a new cluster in `directory` and ends it again.
    pub(crate) async fn make(directory: PathBuf, limit_bytes: u64) -> anyhow::Result<Self> {
        let ready_file = directory.join("ready.json");
        let mut supervisor = Command::new(conclaved()?)
            .args(["dev", "--nodes", "3", "--seal", "static", "--data-dir"])
            .arg(directory.join("cluster"))
            .arg("--ready-file")
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        pace::until(START_MAX, "the start of a cluster", async || {
            let ended = supervisor.try_wait()?;
            anyhow::ensure!(ended.is_none(), "conclaved dev ended before its cluster was ready");
            Ok(ready_file.exists())
        })
        .await?;
        let ready: Ready = serde_json::from_slice(&std::fs::read(&ready_file)?)?;
        terminate(&supervisor)?;
        supervisor.wait().await?;
        anyhow::ensure!(ready.nodes.len() == NODES, "the cluster has another size");
        let limits = ready.nodes.iter().map(|node| Limit::new(&node.name, limit_bytes)).collect();
        Ok(Self { ready, limits, running: (0..NODES).map(|_| None).collect(), directory })
    }

    /// How the nodes' memory is limited, in words.
    pub(crate) fn limit_kind(&self) -> &'static str {
        self.limits[0].kind()
    }

    /// How often each node met its limit.
    pub(crate) fn limit_hits(&self) -> Vec<u64> {
        self.limits.iter().map(Limit::hits).collect()
    }

    /// Has a node build snapshots by this rule from its next start on.
    pub(crate) fn set_snapshot_rule(&self, node: usize, rule: SnapshotRule) -> anyhow::Result<()> {
        self.configure(node, |raft| {
            raft.insert("snapshot_entries".to_owned(), rule.entries.into());
            raft.insert("trailing_logs".to_owned(), rule.keep.into());
        })
    }

    /// Has a node build snapshots as it does by default, from its next start on.
    pub(crate) fn unset_snapshot_rule(&self, node: usize) -> anyhow::Result<()> {
        self.configure(node, |raft| {
            raft.remove("snapshot_entries");
            raft.remove("trailing_logs");
        })
    }

    fn configure(
        &self,
        node: usize,
        change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
    ) -> anyhow::Result<()> {
        let path = &self.ready.nodes[node].config;
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let raft = config.pointer_mut("/storage/raft").and_then(|raft| raft.as_object_mut());
        change(raft.context("no storage section")?);
        Ok(std::fs::write(path, serde_json::to_vec_pretty(&config)?)?)
    }

    /// Starts every node and waits until all serve.
    pub(crate) async fn start_all(&mut self, sampler: &Sampler) -> anyhow::Result<()> {
        for node in 0..NODES {
            self.start(node, sampler)?;
        }
        for node in 0..NODES {
            pace::until(START_MAX, "a node that serves", async || {
                self.check_running()?;
                Ok(self.status(node).await.is_some_and(|s| !s.sealed && s.leader_id != 0))
            })
            .await?;
        }
        Ok(())
    }

    /// Starts one node; it enters its group before it becomes `conclaved`.
    pub(crate) fn start(&mut self, node: usize, sampler: &Sampler) -> anyhow::Result<()> {
        let entrance = self.limits[node].entrance().unwrap_or_else(|| "/dev/null".into());
        let child = Command::new("/bin/sh")
            .args(["-c", r#"echo $$ > "$1" && exec "$2" server --config "$3""#, "sh"])
            .arg(entrance)
            .arg(conclaved()?)
            .arg(&self.ready.nodes[node].config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log(node)?)
            .kill_on_drop(true)
            .spawn()?;
        sampler.watch(node, child.id().context("a node ended at once")?);
        self.running[node] = Some(child);
        Ok(())
    }

    /// Ends one node in good order.
    pub(crate) async fn stop(&mut self, node: usize, sampler: &Sampler) -> anyhow::Result<()> {
        let Some(mut child) = self.running[node].take() else { return Ok(()) };
        terminate(&child)?;
        child.wait().await?;
        sampler.watch(node, 0);
        Ok(())
    }

    /// Ends every node.
    pub(crate) async fn stop_all(&mut self, sampler: &Sampler) -> anyhow::Result<()> {
        for node in 0..NODES {
            self.stop(node, sampler).await?;
        }
        Ok(())
    }

    /// An error where a node has ended by itself.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        for (node, child) in self.running.iter_mut().enumerate() {
            if let Some(child) = child
                && let Some(status) = child.try_wait()?
            {
                let name = &self.ready.nodes[node].name;
                anyhow::bail!("{name} has ended ({status}); see {name}.log in the directory");
            }
        }
        Ok(())
    }

    /// What a node says of itself; none while it cannot be reached.
    pub(crate) async fn status(&self, node: usize) -> Option<NodeStatus> {
        let address = self.api_addr(node);
        let client = self.client([address.to_owned()], 1).await.ok()?;
        client.operator().status(Some(address)).await.ok()
    }

    /// A client of some nodes and no others, quick to give up. Its requests carry no id, so a
    /// refusal leaves nothing to remember.
    pub(crate) async fn client(
        &self,
        addresses: impl IntoIterator<Item = String>,
        connections: usize,
    ) -> anyhow::Result<Client> {
        let mut config = self.config(addresses, connections);
        config.discover = false;
        config.request_ids = false;
        config.timeouts = QUICK;
        Ok(Client::connect(config).await?)
    }

    /// A client of the whole cluster, as users have it.
    pub(crate) async fn patient_client(&self, connections: usize) -> anyhow::Result<Client> {
        let addresses: Vec<_> = self.ready.nodes.iter().map(|n| n.api_addr.clone()).collect();
        Ok(Client::connect(self.config(addresses, connections)).await?)
    }

    fn config(&self, addresses: impl IntoIterator<Item = String>, connections: usize) -> Config {
        let mut config = Config::new(addresses)
            .with_ca_file(&self.ready.ca_file)
            .with_token(self.ready.root_token.clone());
        config.connections_per_node = connections;
        config
    }

    /// The node that leads.
    pub(crate) async fn leader(&self) -> Option<usize> {
        for node in 0..NODES {
            let status = self.status(node).await?;
            if status.leader_id != 0 && status.leader_id == status.node_id {
                return Some(node);
            }
        }
        None
    }

    /// Makes this node the leader.
    pub(crate) async fn make_leader(&self, node: usize) -> anyhow::Result<()> {
        pace::until(LEAD_MAX, "a change of the leader", async || {
            match self.leader().await {
                Some(leader) if leader == node => return Ok(true),
                Some(leader) => {
                    let client = self.client([self.api_addr(leader).to_owned()], 1).await?;
                    let _ = client.operator().step_down().await;
                }
                None => {}
            }
            pace::pause(Duration::from_secs(1)).await;
            Ok(false)
        })
        .await
    }

    pub(crate) fn api_addr(&self, node: usize) -> &str {
        &self.ready.nodes[node].api_addr
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        &self.ready.nodes[node].name
    }

    pub(crate) fn data_dir(&self, node: usize) -> &Path {
        &self.ready.nodes[node].data_dir
    }

    pub(crate) fn ca_file(&self) -> &Path {
        &self.ready.ca_file
    }

    pub(crate) fn token(&self) -> &str {
        &self.ready.root_token
    }

    fn log(&self, node: usize) -> anyhow::Result<File> {
        let path = self.directory.join(format!("{}.log", self.name(node)));
        Ok(OpenOptions::new().create(true).append(true).open(path)?)
    }
}

fn terminate(child: &Child) -> anyhow::Result<()> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    match pid {
        Some(pid) => Ok(kill_process(pid, Signal::TERM)?),
        None => Ok(()),
    }
}

const START_MAX: Duration = Duration::from_secs(240);
const LEAD_MAX: Duration = Duration::from_secs(60);
const QUICK: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    attempt: Duration::from_secs(1),
    request: Duration::from_secs(1),
};

//! A cluster of real processes under test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use conclave_sdk::{Client, Config, NodeStatus};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::pace;

/// What `conclaved dev --ready-file` writes.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) ca_file: PathBuf,
    pub(crate) root_token: String,
    pub(crate) unseal_keys: Vec<String>,
    pub(crate) nodes: Vec<Node>,
}

/// One node of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) api_addr: String,
    pub(crate) config: PathBuf,
}

/// A running development cluster; dropping it ends every process and removes every file.
pub(crate) struct Cluster {
    pub(crate) ready: Ready,
    pub(crate) directory: tempfile::TempDir,
    supervisor: Child,
    restarted: Vec<Child>,
}

impl Cluster {
    /// Starts `conclaved dev` with these further arguments and waits until it serves.
    pub(crate) async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("conclave-jepsen-").tempdir()?;
        Self::start_in(directory, arguments).await
    }

    /// The same in a directory that an earlier start may have filled.
    pub(crate) async fn start_in(
        directory: tempfile::TempDir,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let ready_file = directory.path().join("ready.json");
        let mut supervisor = Command::new(conclaved()?)
            .arg("dev")
            .arg("--data-dir")
            .arg(directory.path().join("cluster"))
            .arg("--ready-file")
            .arg(&ready_file)
            .args(arguments)
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("conclaved cannot be started")?;
        let start = pace::until(START_MAX, "the start of a cluster", async || {
            ready_file.exists() || supervisor.try_wait().ok().flatten().is_some()
        });
        start.await?;
        let text = std::fs::read_to_string(&ready_file)
            .context("conclaved dev ended before its cluster was ready")?;
        let ready = serde_json::from_str(&text).context("the ready file")?;
        Ok(Self { ready, directory, supervisor, restarted: Vec::new() })
    }

    /// A configuration for all nodes, with the root token.
    pub(crate) fn config(&self) -> Config {
        Config::new(self.ready.nodes.iter().map(|node| node.api_addr.clone()))
            .with_ca_file(&self.ready.ca_file)
            .with_token(self.ready.root_token.clone())
    }

    /// A client of all nodes.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(self.config()).await?)
    }

    /// A client of one node, which uses no other.
    pub(crate) async fn client_of(&self, node: &Node) -> anyhow::Result<Client> {
        let mut config = self.config();
        config.addresses = vec![node.api_addr.clone()];
        config.discover = false;
        Ok(Client::connect(config).await?)
    }

    /// What a node says of itself; `None` while it cannot be reached.
    pub(crate) async fn status(&self, client: &Client, node: &Node) -> Option<NodeStatus> {
        client.operator().status(Some(&node.api_addr)).await.ok()
    }

    /// The place in `ready.nodes` of the node that leads.
    pub(crate) async fn leader(&self, client: &Client) -> anyhow::Result<usize> {
        for _ in 0..LEADER_POLLS_MAX {
            for node in &self.ready.nodes {
                let Some(status) = self.status(client, node).await else { continue };
                let found = self.ready.nodes.iter().position(|n| n.id == status.leader_id);
                if let Some(leader) = found {
                    return Ok(leader);
                }
            }
            pace::pause(Duration::from_millis(50)).await;
        }
        anyhow::bail!("no leader was found")
    }

    /// Kills a node without warning.
    pub(crate) fn kill(&self, place: usize) -> anyhow::Result<()> {
        self.signal(place, Signal::KILL)
    }

    /// Sends a signal to a node.
    pub(crate) fn signal(&self, place: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.ready.nodes[place].pid)?;
        let pid = Pid::from_raw(pid).context("the node runs no more")?;
        kill_process(pid, signal).context("kill")
    }

    /// Waits until a node that was told to stop has ended.
    pub(crate) async fn wait_ended(&self, place: usize) -> anyhow::Result<()> {
        let pid = i32::try_from(self.ready.nodes[place].pid)?;
        let pid = Pid::from_raw(pid).context("the node runs no more")?;
        pace::until(STOP_MAX, "the end of a node", async || test_kill_process(pid).is_err()).await
    }

    /// Starts a node again by hand, as an operator would.
    pub(crate) fn restart(&mut self, place: usize) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("restarted-{place}.log")))?;
        let child = Command::new(conclaved()?)
            .arg("server")
            .arg("--config")
            .arg(&self.ready.nodes[place].config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.ready.nodes[place].pid = child.id().context("the node ended at once")?;
        self.restarted.push(child);
        Ok(())
    }

    /// Waits until a node is unsealed and has applied what the cluster had committed.
    pub(crate) async fn wait_caught_up(
        &self,
        client: &Client,
        place: usize,
        index: u64,
    ) -> anyhow::Result<()> {
        let node = &self.ready.nodes[place];
        pace::until(CATCH_UP_MAX, "catching up", async || {
            let status = self.status(client, node).await;
            status.is_some_and(|s| !s.sealed && s.leader_id != 0 && s.applied_index >= index)
        })
        .await
    }

    /// Ends the cluster in good order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.halt().await.map(drop)
    }

    /// The same, and keeps its directory.
    pub(crate) async fn halt(mut self) -> anyhow::Result<tempfile::TempDir> {
        for child in &mut self.restarted {
            terminate(child);
        }
        for child in &mut self.restarted {
            let ended = pace::within(STOP_MAX, "the end of a node", child.wait()).await;
            ended.context("SIGTERM does not end a restarted node")??;
        }
        terminate(&mut self.supervisor);
        pace::within(STOP_MAX, "the end of conclaved dev", self.supervisor.wait()).await??;
        std::fs::remove_file(self.directory.path().join("ready.json"))?;
        Ok(self.directory)
    }
}

fn terminate(child: &mut Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The `conclaved` that was built beside this program.
pub(crate) fn conclaved() -> anyhow::Result<PathBuf> {
    sibling("conclaved")
}

/// A program that was built beside this one.
pub(crate) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.parent().unwrap_or(Path::new(".")).join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is not built: run `cargo build --workspace --bins`",
        path.display()
    );
    Ok(path)
}

const START_MAX: Duration = Duration::from_secs(90);
const STOP_MAX: Duration = Duration::from_secs(30);
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
const LEADER_POLLS_MAX: usize = 400;

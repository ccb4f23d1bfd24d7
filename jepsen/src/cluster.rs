//! A cluster of real processes under test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use conclave_sdk::{Client, Config, NodeStatus};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::remains::Remains;
use crate::{pace, ports};

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

impl Node {
    /// Where it keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.config.with_file_name("data")
    }

    /// What it listens on: for clients, and for peers.
    fn addresses(&self) -> anyhow::Result<[SocketAddr; 2]> {
        let config: Value = serde_json::from_slice(&std::fs::read(&self.config)?)?;
        let address = |name| {
            let text = config["listener"]["tcp"][name].as_str().context("no address")?;
            text.parse::<SocketAddr>().context("an address")
        };
        Ok([address("address")?, address("cluster_address")?])
    }
}

/// A running development cluster; dropping it ends every process and removes every file.
pub(crate) struct Cluster {
    pub(crate) ready: Ready,
    /// Dropped before the directory, whose logs it keeps.
    remains: Remains,
    pub(crate) directory: tempfile::TempDir,
    supervisor: Child,
    own: BTreeMap<usize, Own>,
}

/// A node that was started by hand.
struct Own {
    child: Child,
    /// Where its log file ended when it was started.
    log_begin: u64,
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
        let base_port = match directory.path().join("cluster").exists() {
            true => Vec::new(),
            false => vec!["--listen-base-port".to_owned(), ports::take(PORTS_MAX)?.to_string()],
        };
        let mut supervisor = Command::new(conclaved()?)
            .arg("dev")
            .arg("--data-dir")
            .arg(directory.path().join("cluster"))
            .arg("--ready-file")
            .arg(&ready_file)
            .args(base_port)
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
        let remains = Remains::of(directory.path());
        Ok(Self { ready, remains, directory, supervisor, own: BTreeMap::new() })
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

    /// The highest index that any node knows to be committed.
    pub(crate) async fn committed(&self, client: &Client) -> u64 {
        let mut highest = 0;
        for node in &self.ready.nodes {
            if let Some(status) = self.status(client, node).await {
                highest = highest.max(status.committed_index);
            }
        }
        highest
    }

    /// The place in `ready.nodes` of the node that leads and knows it; a deposed one may not know
    /// yet, so the highest term counts.
    pub(crate) async fn leader(&self, client: &Client) -> anyhow::Result<usize> {
        for _ in 0..LEADER_POLLS_MAX {
            let mut highest = None;
            for (place, node) in self.ready.nodes.iter().enumerate() {
                let Some(status) = self.status(client, node).await else { continue };
                if status.node_id != 0 && status.leader_id == status.node_id {
                    highest = highest.max(Some((status.term, place)));
                }
            }
            if let Some((_, place)) = highest {
                return Ok(place);
            }
            pace::pause(Duration::from_millis(50)).await;
        }
        anyhow::bail!("no leader was found")
    }

    /// Kills a node without warning, and waits until it could be started again.
    pub(crate) async fn kill(&mut self, place: usize) -> anyhow::Result<()> {
        self.signal(place, Signal::KILL)?;
        self.wait_ended(place).await
    }

    /// The same with every node at once.
    pub(crate) async fn kill_all(&mut self) -> anyhow::Result<()> {
        for place in 0..self.ready.nodes.len() {
            self.signal(place, Signal::KILL)?;
        }
        for place in 0..self.ready.nodes.len() {
            self.wait_ended(place).await?;
        }
        Ok(())
    }

    /// Sends a signal to a node.
    pub(crate) fn signal(&self, place: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.ready.nodes[place].pid)?;
        let pid = Pid::from_raw(pid).context("the node runs no more")?;
        kill_process(pid, signal).context("kill")
    }

    /// Waits until a node that was told to stop has ended and has left its ports: whoever starts it
    /// again must find them free.
    pub(crate) async fn wait_ended(&mut self, place: usize) -> anyhow::Result<()> {
        if let Some(own) = self.own.get_mut(&place) {
            pace::within(STOP_MAX, "the end of a node", own.child.wait()).await??;
        } else {
            let pid = i32::try_from(self.ready.nodes[place].pid)?;
            let pid = Pid::from_raw(pid).context("the node runs no more")?;
            let gone = async || test_kill_process(pid).is_err();
            pace::until(STOP_MAX, "the end of a node", gone).await?;
        }
        let addresses = self.ready.nodes[place].addresses()?;
        let free = async || addresses.iter().all(|address| ports::is_free(*address));
        pace::until(STOP_MAX, "the ports of a node that ended", free).await
    }

    /// Kills a node without warning; one that has ended by itself is left alone.
    pub(crate) async fn end(&mut self, place: usize) -> anyhow::Result<()> {
        if self.exited(place).is_some() {
            return Ok(());
        }
        self.kill(place).await
    }

    /// How a node that was started by hand ended; `None` while it runs.
    pub(crate) fn exited(&mut self, place: usize) -> Option<ExitStatus> {
        self.own.get_mut(&place)?.child.try_wait().ok().flatten()
    }

    /// What a service manager does: starts every node again that was started by hand and ended by
    /// itself with an error, but the one at `except`.
    pub(crate) fn start_ended(&mut self, except: Option<usize>) -> anyhow::Result<()> {
        let places: Vec<usize> = self.own.keys().copied().collect();
        for place in places.into_iter().filter(|place| Some(*place) != except) {
            let failed = |ended: ExitStatus| ended.code().is_some_and(|code| code != 0);
            if self.exited(place).is_some_and(failed) {
                self.restart(place)?;
            }
        }
        Ok(())
    }

    /// What a node said since it was last started by hand.
    pub(crate) fn words(&self, place: usize) -> String {
        let Some(own) = self.own.get(&place) else { return String::new() };
        let log = std::fs::read(self.log_file(place)).unwrap_or_default();
        let from = usize::try_from(own.log_begin).unwrap_or(usize::MAX).min(log.len());
        String::from_utf8_lossy(&log[from..]).into_owned()
    }

    fn log_file(&self, place: usize) -> PathBuf {
        self.directory.path().join(format!("restarted-{place}.log"))
    }

    /// Starts a node again by hand, as an operator would.
    pub(crate) fn restart(&mut self, place: usize) -> anyhow::Result<()> {
        self.restart_through(place, &[])
    }

    /// The same by a program that starts the rest of its command line, with these words before it.
    pub(crate) fn restart_through(
        &mut self,
        place: usize,
        launcher: &[&Path],
    ) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.log_file(place))?;
        let log_begin = log.metadata()?.len();
        let conclaved = conclaved()?;
        let words = [launcher, &[&conclaved]].concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["server", "--config"])
            .arg(&self.ready.nodes[place].config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.ready.nodes[place].pid = child.id().context("the node ended at once")?;
        self.own.insert(place, Own { child, log_begin });
        Ok(())
    }

    /// Runs a `conclaved` command on the files of a node that does not run; answers with what it
    /// printed and whether it succeeded.
    pub(crate) async fn command(
        &self,
        place: usize,
        command: &str,
        arguments: &[&str],
    ) -> anyhow::Result<(bool, String)> {
        let run = Command::new(conclaved()?)
            .args([command, "--config"])
            .arg(&self.ready.nodes[place].config)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = pace::within(STOP_MAX, command, run).await??;
        let words = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&words).into_owned()))
    }

    /// Sets the data of a node that stays out aside by the one command, deletes it, and starts the
    /// node again.
    pub(crate) async fn rejoin(&mut self, place: usize) -> anyhow::Result<()> {
        self.end(place).await?;
        let (right, words) = self.command(place, "rejoin", &["--yes"]).await?;
        anyhow::ensure!(right, "rejoin: {words}");
        for entry in std::fs::read_dir(self.ready.nodes[place].data())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("set-aside"))
            {
                std::fs::remove_dir_all(path)?;
            }
        }
        self.restart(place)
    }

    /// Changes a node's configuration file.
    pub(crate) fn configure(
        &self,
        place: usize,
        change: impl Fn(&mut Value),
    ) -> anyhow::Result<()> {
        let file = &self.ready.nodes[place].config;
        let mut config: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        change(&mut config);
        std::fs::write(file, serde_json::to_vec_pretty(&config)?)?;
        Ok(())
    }

    /// Changes every node's configuration, restarting one node after the other.
    pub(crate) async fn reconfigure(
        &mut self,
        client: &Client,
        change: impl Fn(&mut Value),
    ) -> anyhow::Result<()> {
        for place in 0..self.ready.nodes.len() {
            self.configure(place, &change)?;
            self.end(place).await?;
            self.restart(place)?;
            self.wait_caught_up(client, place, 1).await?;
        }
        Ok(())
    }

    /// Writes the files of a further node, which joins by the cluster's join secret once it is
    /// started; answers with its place.
    pub(crate) fn add(&mut self, name: &str) -> anyhow::Result<usize> {
        let first = self.ready.nodes[0].config.clone();
        let folder = first.parent().context("a folder")?.with_file_name(name);
        std::fs::create_dir(&folder)?;
        for file in ["api.crt", "api.key"] {
            std::fs::copy(first.with_file_name(file), folder.join(file))?;
        }
        let port = ports::take(2)?;
        let (api, peer) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1));
        let mut config: Value = serde_json::from_slice(&std::fs::read(&first)?)?;
        let mut peers = config["storage"]["raft"]["retry_join"].take();
        let known = json!({
            "leader_api_addr": config["api_addr"].clone(),
            "leader_cluster_addr": config["cluster_addr"].clone(),
        });
        peers.as_array_mut().context("retry_join is no list")?.push(known);
        config["storage"]["raft"]["retry_join"] = peers;
        config["storage"]["raft"]["node_id"] = json!(name);
        config["api_addr"] = json!(format!("https://{api}"));
        config["cluster_addr"] = json!(peer);
        config["listener"]["tcp"]["address"] = json!(api);
        config["listener"]["tcp"]["cluster_address"] = json!(peer);
        let file = folder.join("config.json");
        std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        let node = Node { id: 0, pid: 0, api_addr: format!("https://{api}"), config: file };
        self.ready.nodes.push(node);
        Ok(self.ready.nodes.len() - 1)
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
        for own in self.own.values_mut() {
            terminate(&mut own.child);
        }
        for own in self.own.values_mut() {
            let ended = pace::within(STOP_MAX, "the end of a node", own.child.wait()).await;
            ended.context("SIGTERM does not end a restarted node")??;
        }
        terminate(&mut self.supervisor);
        pace::within(STOP_MAX, "the end of conclaved dev", self.supervisor.wait()).await??;
        std::fs::remove_file(self.directory.path().join("ready.json"))?;
        self.remains.forget();
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
/// Two ports for each of five nodes.
const PORTS_MAX: u16 = 10;

//! Starting, initialising and ending a development cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use conclave_proto::v1;
use conclave_proto::v1::operator_client::OperatorClient;
use tonic::transport::Channel;

use super::child::NodeProcess;
use super::client::{mount_secret, operator_of, status};
use super::layout::{DevSeal, Layout};
use super::phases::Phases;
use super::report::{Ready, ReadyNode};
use crate::system;

/// What `conclaved dev` was asked for.
pub struct DevOptions {
    /// How many nodes.
    pub nodes: u16,
    /// Kept; a temporary one otherwise.
    pub data_dir: PathBuf,
    /// The first of two consecutive ports a node; free ones otherwise.
    pub base_port: Option<u16>,
    /// How nodes unseal; as the directory has it, or by shares, if it is not given.
    pub seal: Option<DevSeal>,
    /// Whether the public listeners are without TLS.
    pub plain_http: bool,
    /// Whether nodes record what peers say.
    pub record_peer_frames: bool,
}

/// A running cluster.
pub struct DevCluster {
    layout: Layout,
    processes: Vec<NodeProcess>,
    clients: Vec<OperatorClient<Channel>>,
}

impl DevCluster {
    /// Starts the processes.
    ///
    /// # Errors
    /// Files cannot be written or a process cannot be started.
    pub fn start(options: &DevOptions) -> anyhow::Result<Self> {
        crate::files::make_private_dir(&options.data_dir)?;
        let layout = Layout::prepare(options, &system::ports())?;
        let processes = layout
            .nodes
            .iter()
            .map(|node| NodeProcess::start(node.clone()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let clients = layout
            .nodes
            .iter()
            .map(|node| operator_of(&layout, node))
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { layout, processes, clients })
    }

    /// Initialises the cluster, or unseals one that an earlier start made, and waits until every
    /// node serves.
    ///
    /// # Errors
    /// A node ended or did not come up in time; the message names its log.
    pub async fn make_ready(&mut self, progress: &Phases) -> anyhow::Result<Ready> {
        progress.begin("starting the nodes");
        self.wait_until(|statuses| statuses.iter().all(Option::is_some)).await?;
        let saved = Ready::read(&self.saved_file())?;
        let founded = saved.is_none();
        let (root_token, unseal_keys) = match saved {
            Some(ready) => {
                progress.begin("unsealing");
                self.unseal_first(&ready.unseal_keys).await?;
                (ready.root_token, ready.unseal_keys)
            }
            None => {
                progress.begin("initialising");
                let (root_token, unseal_keys) = self.initialise().await?;
                // At once: nobody can get at this cluster without them.
                let ready = self.describe(root_token.clone(), unseal_keys.clone()).await?;
                ready.write(&self.saved_file())?;
                (root_token, unseal_keys)
            }
        };
        progress.begin("waiting until every node has joined and is unsealed");
        let count = self.layout.nodes.len();
        self.wait_until(|statuses| {
            statuses.iter().flatten().filter(|s| serves(s, count)).count() == count
        })
        .await?;
        if founded {
            mount_secret(&self.layout, &self.layout.nodes[0], &root_token).await?;
        }
        let ready = self.describe(root_token, unseal_keys).await?;
        ready.write(&self.saved_file())?;
        Ok(ready)
    }

    /// Kept beside the nodes, so that a later start on the same directory can unseal them.
    fn saved_file(&self) -> PathBuf {
        self.layout.base.join("ready.json")
    }

    async fn initialise(&mut self) -> anyhow::Result<(String, Vec<String>)> {
        let request = v1::InitRequest { secret_shares: 1, secret_threshold: 1 };
        let answer = self.clients[0].init(request).await.context("initialising node-1")?;
        let answer = answer.into_inner();
        Ok((answer.root_token, answer.keys.iter().map(hex::encode).collect()))
    }

    async fn unseal_first(&mut self, keys: &[String]) -> anyhow::Result<()> {
        for key in keys {
            let key = hex::decode(key).context("the saved unseal key")?;
            let request = v1::UnsealRequest { key: key.into(), reset: false };
            self.clients[0].unseal(request).await.context("unsealing node-1")?;
        }
        Ok(())
    }

    async fn describe(
        &mut self,
        root_token: String,
        unseal_keys: Vec<String>,
    ) -> anyhow::Result<Ready> {
        let mut nodes = Vec::new();
        let mut leader_id = 0;
        for (process, client) in self.processes.iter().zip(&mut self.clients) {
            let status = status(client).await.context("a node vanished")?;
            leader_id = leader_id.max(status.leader_id);
            nodes.push(ReadyNode {
                id: status.node_id,
                name: process.layout.name.clone(),
                pid: process.pid(),
                api_addr: process.layout.api_addr(),
                cluster_addr: process.layout.cluster.to_string(),
                data_dir: process.layout.data_dir.clone(),
                config: process.layout.config.clone(),
            });
        }
        Ok(Ready {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ca_file: self.layout.ca_file.clone(),
            root_token,
            unseal_keys,
            leader_id,
            nodes,
        })
    }

    /// Polls every node until `enough` says so.
    async fn wait_until(
        &mut self,
        enough: impl Fn(&[Option<v1::NodeStatusResponse>]) -> bool,
    ) -> anyhow::Result<()> {
        for _ in 0..START_POLLS_MAX {
            if let Some(ended) = self.newly_ended() {
                anyhow::bail!("{ended}");
            }
            let mut statuses = Vec::new();
            for client in &mut self.clients {
                statuses.push(status(client).await);
            }
            if enough(&statuses) {
                return Ok(());
            }
            conclave_ports::Clock::sleep(&system::SystemClock, START_POLL).await;
        }
        anyhow::bail!(
            "the cluster did not come up in time; the nodes' logs below {} say why",
            self.layout.base.display()
        )
    }

    /// A node that has ended since the last call, in words, with the command that starts it again
    /// and the end of its log.
    pub fn newly_ended(&mut self) -> Option<String> {
        self.processes.iter_mut().find_map(|process| {
            let ended = process.newly_ended()?;
            Some(format!(
                "{} has ended ({}); its log is {}; start it again with: {}{}",
                process.layout.name,
                ended.status,
                process.layout.log.display(),
                process.restart_command(),
                ended.last_words
            ))
        })
    }

    /// Ends every node, the last first.
    pub async fn stop(mut self) {
        let stops = self.processes.drain(..).map(NodeProcess::stop);
        futures::future::join_all(stops).await;
    }
}

/// Whether this node serves, knows a leader and sees all members.
fn serves(status: &v1::NodeStatusResponse, nodes: usize) -> bool {
    status.initialized
        && !status.sealed
        && status.leader_id != 0
        && status.member_api_addrs.len() == nodes
}

const START_POLL: Duration = Duration::from_millis(50);
const START_POLLS_MAX: usize = 1_200;

//! A node: what it is now (alone, sealed, unsealed) and how it gets from one to the other.
//!
//! The phases are types. A node that is alone has no log; a sealed one replicates, votes and holds
//! no key; only an unsealed one has a core. Sealing drops the core and with it, once
//! the requests under way have ended, every key; so nothing here asks "is it sealed?" before using one.

mod admit;
mod dispatch;
mod forward;
mod init;
mod join;
mod operator;
mod peers;
mod phase;
mod running;
mod seal;
mod service;
mod watch;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock, Weak};

use anyhow::Context;
use arc_swap::ArcSwap;
use conclave_core::EngineRegistry;
use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_seal::{Ceremony, SealConfig};
use conclave_store::disk::{Disk, Open, RealDisk};
use conclave_store::identity::IdentityStore;
use tokio::sync::watch as watch_channel;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::peer::{TonicTransport, UnsealKey, read_join_secret};
use crate::tls::NodeIdentity;

use phase::Phase;
use running::{Running, RunningParts};

/// One node of a cluster.
pub struct Node {
    config: Config,
    seal: SealConfig,
    join_secret: Option<Zeroizing<Vec<u8>>>,
    ports: Ports,
    boot_id: [u8; 16],
    /// Of this process: a restarted node may be unsealed by a peer again.
    process_id: [u8; 16],
    disk: Arc<dyn Disk>,
    identities: IdentityStore,
    tls: Arc<NodeIdentity>,
    transport: Arc<TonicTransport>,
    metrics: Metrics,
    phase: RwLock<Phase>,
    ceremony: Mutex<Ceremony>,
    /// The members that the cluster named when this node joined, until the log says.
    known_members: ArcSwap<Vec<v1::Member>>,
    /// Who was given the root key.
    peer_unseals: Mutex<peers::PeerUnseals>,
    /// Asks for the root key again where an answer was lost.
    unseal_key: Mutex<Option<UnsealKey>>,
    /// Names of nodes that are being admitted.
    admitting: Mutex<BTreeSet<String>>,
    /// One change of phase at a time: init, join, unseal, seal.
    transition: tokio::sync::Mutex<()>,
    /// Set once the process must end, with the reason.
    end: watch_channel::Sender<Option<String>>,
    this: Weak<Self>,
}

impl Node {
    /// Opens the data directory and, if this node belongs to a cluster, starts consensus. It comes
    /// up sealed; [`Node::run`] unseals it where the configuration says how.
    ///
    /// # Errors
    /// The directory is in use, damaged in a way that only an operator may decide about, or cannot
    /// be written.
    pub async fn open(
        config: Config,
        ports: Ports,
        boot_id: [u8; 16],
        metrics: Metrics,
    ) -> anyhow::Result<Arc<Self>> {
        let data_dir = &config.storage.path;
        let disk: Arc<dyn Disk> =
            Arc::new(RealDisk::open(data_dir).context("this node cannot start")?);
        let identities = IdentityStore::open(disk.clone()).context("the node's identity")?;
        let tls = NodeIdentity::load_or_make(data_dir, config.storage.node_name.as_str())
            .context("the node's key")?;
        let transport = TonicTransport::new(tls.clone(), ports.clone());
        let seal = config.seal.to_provider();
        let join_secret = match &config.join_secret_file {
            Some(file) => Some(read_join_secret(file)?),
            None => None,
        };
        let (end, _) = watch_channel::channel(None);
        let ceremony = Mutex::new(Ceremony::new(ports.rng.clone()));
        let process_id = ports.random();
        let node = Arc::new_cyclic(|this| Self {
            config,
            seal,
            join_secret,
            ports,
            boot_id,
            process_id,
            disk,
            identities,
            tls,
            transport,
            metrics,
            phase: RwLock::new(Phase::Alone),
            ceremony,
            known_members: ArcSwap::default(),
            peer_unseals: Mutex::default(),
            unseal_key: Mutex::default(),
            admitting: Mutex::default(),
            transition: tokio::sync::Mutex::new(()),
            end,
            this: this.clone(),
        });
        if let Some(identity) = node.identities.load() {
            // The log is made by the start that saves the identity, and that start is counted once
            // the log is there.
            anyhow::ensure!(
                node.identities.boot_counter() == 0
                    || node.disk.open(LOG_MARK, Open::Existing).is_ok(),
                "the Raft log of this node is gone: remove the node from the cluster, empty its data directory and join it again"
            );
            node.identities.begin_boot().context("counting this boot")?;
            let running = node.start_running(identity).await?;
            node.set_phase(Phase::Sealed(running));
        }
        Ok(node)
    }

    /// Runs the background work until `stop` says so, then hands leadership over. The node still
    /// answers afterwards; [`Node::close`] ends it.
    ///
    /// # Errors
    /// The node ended by itself: a storage error that only a fresh start can mend.
    pub async fn run(self: &Arc<Self>, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        self.spawn_background();
        let mut end = self.end.subscribe();
        tokio::select! {
            biased;
            () = stop => {}
            _ = end.wait_for(Option::is_some) => {}
        }
        self.hand_over().await;
        match end.borrow().clone() {
            Some(reason) => Err(anyhow::anyhow!(reason)),
            None => Ok(()),
        }
    }

    /// Lets another member lead, if there is one that can.
    async fn hand_over(&self) {
        let Some(running) = self.phase().running().cloned() else { return };
        if running.raft.status().is_leader
            && let Err(error) = running.raft.transfer_leadership().await
        {
            tracing::info!(%error, "leadership was not handed over before stopping");
        }
    }

    /// Ends consensus and everything that writes; nothing is answered afterwards.
    pub async fn close(&self) {
        if let Some(running) = self.phase().running() {
            running.stop().await;
        }
    }

    async fn start_running(
        &self,
        identity: conclave_store::identity::Identity,
    ) -> anyhow::Result<Arc<Running>> {
        Running::start(RunningParts {
            disk: self.disk.clone(),
            boot_id: self.boot_id,
            identity,
            timing: self.config.raft,
            storage: &self.config.storage,
            transport: self.transport.clone(),
            ports: self.ports.clone(),
        })
        .await
    }

    /// The node's key and certificates.
    pub fn tls(&self) -> Arc<NodeIdentity> {
        self.tls.clone()
    }

    fn phase(&self) -> Phase {
        self.phase.read().expect("no code panics while it holds the phase").clone()
    }

    fn set_phase(&self, phase: Phase) {
        *self.phase.write().expect("no code panics while it holds the phase") = phase;
    }

    /// This node has an identity and no consensus: only a fresh start goes on from there.
    fn end_for(&self, why: &anyhow::Error) -> conclave_core::Error {
        self.end_with(format!("{why:#}"));
        conclave_core::Error::internal(format!("{why:#}"))
    }

    /// Asks the process to end; the first reason stands.
    fn end_with(&self, reason: String) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(reason);
            }
            first
        });
    }

    fn me(&self) -> Arc<Self> {
        self.this.upgrade().expect("a method runs only while the node lives")
    }

    fn engines() -> EngineRegistry {
        EngineRegistry::new(vec![Arc::new(conclave_engines::Kv::new())])
    }
}

/// There from the first start of the log on.
const LOG_MARK: &str = "log/mark";

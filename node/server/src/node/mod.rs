//! A node: what it is now (alone, greeting, out, sealed, unsealed) and how it gets from one to the
//! other.
//!
//! The phases are types. A node that is alone has no log; one that greets has open files and no
//! consensus; one that is out has neither; a sealed one replicates, votes and holds no key; only an
//! unsealed one has a core. Sealing drops the core and with it, once the requests under way have
//! ended, every key; so nothing here asks "is it sealed?" before using one.

mod admit;
mod anchors;
mod backup;
mod ceremony_log;
mod dispatch;
mod files;
mod forward;
mod greeting;
mod halt;
mod init;
mod join;
mod join_by_seal;
mod key_ceremonies;
mod opened;
mod operator;
mod out;
mod peers;
mod phase;
pub mod recovery;
mod running;
mod seal;
mod service;
mod space;
mod stream_end;
mod threads;
mod watch;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use conclave_barrier::RootKey;
use conclave_core::EngineRegistry;
use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_seal::{Attempts, Ceremony, SealConfig};
use conclave_store::disk::{Disk, RealDisk};
use conclave_store::identity::IdentityStore;
use tokio::sync::watch as watch_channel;
use zeroize::Zeroizing;

use crate::audit::AuditDevices;
use crate::config::{Config, SpaceLimits};
use crate::files::write_private;
use crate::metrics::Metrics;
use crate::peer::{TonicTransport, UnsealKey, read_join_secret};
use crate::tls::NodeIdentity;
use crate::workers::WorkerThreads;

use opened::{DAMAGE_NOTE, Opened, WAY_OUT};
use out::Outside;
use phase::Phase;
use running::Running;
use space::Space;
use threads::Damaged;

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
    space: Arc<Space>,
    /// What consensus was told last of the space.
    told_full: AtomicBool,
    identities: IdentityStore,
    tls: Arc<NodeIdentity>,
    transport: Arc<TonicTransport>,
    metrics: Metrics,
    workers: WorkerThreads,
    audit: Arc<AuditDevices>,
    phase: RwLock<Phase>,
    /// Counts changes of phase.
    phases: watch_channel::Sender<u64>,
    ceremony: Mutex<Ceremony>,
    /// Of the holders of shares, while this node leads.
    attempts: Mutex<Attempts>,
    /// The cluster that this node, while it is alone, joins once its seal answers.
    sealed_invitation: Mutex<Option<join_by_seal::SealedInvitation>>,
    /// The members that the cluster named when this node joined, until the log says.
    known_members: ArcSwap<Vec<v1::Member>>,
    /// Who was given the root key.
    peer_unseals: Mutex<peers::PeerUnseals>,
    /// Asks for the root key again where an answer was lost.
    unseal_key: Mutex<Option<Arc<UnsealKey>>>,
    /// Of an unsealed node that had to close its files: it is to come back unsealed.
    kept_root_key: Mutex<Option<RootKey>>,
    /// When the files were opened again last, on the monotonic clock.
    reopened_at: Mutex<Option<Duration>>,
    /// Names of nodes that are being admitted.
    admitting: Mutex<BTreeSet<String>>,
    backups: backup::Backups,
    /// One change of phase at a time: init, join, unseal, seal.
    transition: tokio::sync::Mutex<()>,
    /// Set once the process must end, with the reason.
    end: watch_channel::Sender<Option<String>>,
    this: Weak<Self>,
}

impl Node {
    /// Opens the data directory. If this node belongs to a cluster it is to take part once
    /// [`Node::run`] has asked the peers; it comes up sealed, and is unsealed then where the
    /// configuration says how.
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
        let real_disk = Arc::new(RealDisk::open(data_dir).context("this node cannot start")?);
        let space = Space::new(real_disk.clone(), config.storage.space);
        space.watch().context("the thread that watches the disk")?;
        let disk: Arc<dyn Disk> = real_disk;
        let identities = IdentityStore::open(disk.clone()).context("the node's identity")?;
        files::check(disk.as_ref(), &identities)?;
        let tls = NodeIdentity::load_or_make(data_dir, config.storage.node_name.as_str())
            .with_context(|| format!("the node's key and certificates in tls/ (if they cannot be put back, {WAY_OUT})"))?;
        let transport = TonicTransport::new(tls.clone(), ports.clone());
        let seal = config.seal.to_provider();
        let join_secret = match &config.join_secret_file {
            Some(file) => Some(read_join_secret(file)?),
            None => None,
        };
        let backups = backup::Backups::open(data_dir).context("the room for backups")?;
        let workers = WorkerThreads::start().context("the threads for long computations")?;
        let (end, _) = watch_channel::channel(None);
        let (phases, _) = watch_channel::channel(0);
        let ceremony = Mutex::new(Ceremony::new(ports.rng.clone()));
        let attempts = Mutex::new(Attempts::new(ports.rng.clone()));
        let process_id = ports.random();
        let audit = Arc::new(AuditDevices::new(
            config.audit.clone(),
            config.storage.node_name.as_str().to_owned(),
            ports.clone(),
        ));
        let node = Arc::new_cyclic(|this| Self {
            config,
            seal,
            join_secret,
            ports,
            boot_id,
            process_id,
            disk,
            space,
            told_full: AtomicBool::new(false),
            identities,
            tls,
            transport,
            metrics,
            workers,
            audit,
            backups,
            phase: RwLock::new(Phase::Alone),
            phases,
            ceremony,
            attempts,
            sealed_invitation: Mutex::default(),
            known_members: ArcSwap::default(),
            peer_unseals: Mutex::default(),
            unseal_key: Mutex::default(),
            kept_root_key: Mutex::default(),
            reopened_at: Mutex::default(),
            admitting: Mutex::default(),
            transition: tokio::sync::Mutex::new(()),
            end,
            this: this.clone(),
        });
        node.open_member()?;
        Ok(node)
    }

    /// Opens the files of a node that belongs to a cluster, unless it stays out of it.
    fn open_member(&self) -> anyhow::Result<()> {
        let Some(identity) = self.identities.load() else { return Ok(()) };
        if let Some((why, text)) = self.identities.out() {
            let cluster_id = identity.cluster_id.as_ref().try_into().unwrap_or_default();
            let outside = Outside { cluster_id, node_id: identity.node_id, why, text };
            self.set_phase(Phase::Out(Arc::new(outside)));
            self.report_out();
            return Ok(());
        }
        let opened = self.open_files(identity)?;
        if let Err(error) = files::check_certificate(&self.tls, &opened) {
            opened.close();
            return Err(error);
        }
        self.set_phase(Phase::Greeting(opened));
        Ok(())
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
        // Nothing must start while this ends; whoever holds the lock for long has started already.
        let _one = self.ports.within(CLOSE_WAIT_MAX, self.transition.lock()).await;
        self.audit.close().await;
        self.anchor_last().await;
        match self.phase() {
            Phase::Alone | Phase::Out(_) | Phase::Halted(_) => {}
            Phase::Greeting(opened) => {
                self.set_phase(Phase::Alone);
                opened.close();
            }
            Phase::Sealed(running) | Phase::Unsealed(running, _) => running.stop().await,
        }
    }

    /// Opens the audit logs anew: for rotation.
    pub async fn reopen_audit(&self) {
        self.audit.reopen().await;
    }

    /// Holds from the next look at the disk on.
    pub fn set_space(&self, limits: SpaceLimits) {
        self.space.set_limits(limits);
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
        self.phases.send_modify(|count| *count += 1);
    }

    /// What the scrub calls: the next start sets the state aside, and this process ends.
    fn damage_report(&self) -> Damaged {
        let (note, node) = (self.config.storage.path.join(DAMAGE_NOTE), self.this.clone());
        Arc::new(move |what| {
            if let Err(error) = write_private(&note, what.as_bytes()) {
                tracing::error!(%error, "the note that the state is damaged was not written");
            }
            if let Some(node) = node.upgrade() {
                node.end_with(format!(
                    "{what}: start this node again, and the state is rebuilt from snapshot and log"
                ));
            }
        })
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

    fn engines(&self) -> EngineRegistry {
        EngineRegistry::new(vec![
            Arc::new(conclave_engines::Kv::new()),
            Arc::new(conclave_engines::Cubbyhole::new()),
            Arc::new(conclave_auth::Userpass::new(Arc::new(self.workers.clone()))),
        ])
    }
}

/// How long the end of a node waits for a change of phase under way.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(3);

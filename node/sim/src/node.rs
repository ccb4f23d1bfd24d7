//! One simulated machine: a disk, an engine, a clock, and the process that runs on them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use conclave_store::disk::MemoryDisk;
use conclave_store::identity::{Identity, IdentityStore};
use conclave_store::state::{Loss, MemoryEngine};

use crate::Plant;
use crate::invariants::Violation;
use crate::world::{Dice, Life, LivingDisk, Network, World};

mod running;

pub(crate) use running::{OpenError, Running, RunningParts, SEALED};

pub(crate) const CLUSTER_ID: [u8; 16] = *b"simulated cluste";

/// What the simulation knows of the cluster's secrets, once it is initialised.
pub(crate) struct Keys {
    pub(crate) root_key: [u8; 32],
    pub(crate) token: String,
}

/// A machine of the cluster.
pub(crate) struct SimNode {
    pub(crate) id: u64,
    world: Arc<World>,
    network: Network,
    keys: Arc<OnceLock<Keys>>,
    plant: Option<Plant>,
    disk: MemoryDisk,
    engine: Arc<MemoryEngine>,
    wall_offset_ms: Arc<AtomicI64>,
    inner: Mutex<Inner>,
}

struct Inner {
    dice: Dice,
    /// Changes when the machine boots, not when the process does.
    boot: u64,
    process: Option<(Life, Arc<Running>)>,
    /// Its log did not open: it stays down.
    refused: bool,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The kernel lives on, with all that was written.
    Crash,
    /// The machine loses what was not synced.
    PowerCut,
}

impl SimNode {
    pub(crate) fn new(
        id: u64,
        seed: u64,
        (world, network): (&Arc<World>, &Network),
        keys: &Arc<OnceLock<Keys>>,
        plant: Option<Plant>,
    ) -> Arc<Self> {
        let inner =
            Inner { dice: Dice::new(seed, 100 + id), boot: 1, process: None, refused: false };
        Arc::new(Self {
            id,
            world: world.clone(),
            network: network.clone(),
            keys: keys.clone(),
            plant,
            disk: MemoryDisk::new(),
            engine: Arc::new(MemoryEngine::new()),
            wall_offset_ms: Arc::default(),
            inner: Mutex::new(inner),
        })
    }

    /// The running process.
    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.lock().process.as_ref().map(|(_, running)| running.clone())
    }

    /// Whether its own disk was refused at the last start.
    pub(crate) fn was_refused(&self) -> bool {
        self.lock().refused
    }

    /// From now on syncs succeed and make nothing durable.
    pub(crate) fn plant_skipped_fsync(&self) {
        self.disk.skip_fsync(true);
    }

    /// Gives the node its place in the cluster.
    pub(crate) fn write_identity(&self) {
        let identities =
            IdentityStore::open(Arc::new(self.disk.clone())).expect("a new disk opens");
        let identity = Identity {
            cluster_id: CLUSTER_ID.to_vec().into(),
            node_id: self.id,
            node_name: format!("node-{}", self.id),
            ..Identity::default()
        };
        identities.save(&identity).expect("a new disk takes an identity");
    }

    /// Starts the process on what is on the disk. Whatever does not open is a violation, except
    /// that a disk with a planted bug may be refused: the node stays down then.
    pub(crate) async fn start(&self) {
        if self.was_refused() || self.running().is_some() {
            return;
        }
        let life = Life::begin(&self.world);
        let opening = Running::open(self.parts(&life));
        match life.run(opening).await {
            Some(Ok(running)) => {
                self.world.event(format_args!("node {} starts", self.id));
                self.network.attach(self.id, life.clone(), running.clone());
                self.lock().process = Some((life, running));
            }
            Some(Err(OpenError(reason))) => {
                life.bury();
                self.refuse(&reason);
            }
            None => {}
        }
    }

    /// Ends the process at once, with a last batch half on its way to the disk or not.
    pub(crate) fn end(&self, how: End) {
        self.network.detach(self.id);
        let mut inner = self.lock();
        let Some((life, running)) = inner.process.take() else { return };
        self.world.event(format_args!("node {} ends: {how:?}", self.id));
        life.end();
        if inner.dice.chance(500) {
            running.write_last_batch_unsynced(&self.disk);
        }
        let Inner { dice, boot, .. } = &mut *inner;
        match how {
            End::Crash => {
                self.world.count(|coverage| coverage.crashes += 1);
                self.disk.crash();
                self.engine.crash(Loss::Suffix, &mut || dice.roll());
            }
            End::PowerCut => {
                self.world.count(|coverage| coverage.power_cuts += 1);
                *boot += 1;
                self.disk.power_cut(|| dice.roll());
                let loss = *dice.pick(&[Loss::All, Loss::Suffix, Loss::Torn]);
                self.engine.crash(loss, &mut || dice.roll());
            }
        }
        drop(inner);
        drop(running);
        life.bury();
    }

    /// Sets the wall clock forward or back.
    pub(crate) fn jump_clock(&self, by: i64) {
        self.world.count(|coverage| coverage.clock_jumps += 1);
        self.world.event(format_args!("node {}'s clock jumps by {by} ms", self.id));
        self.wall_offset_ms.fetch_add(by, Ordering::Relaxed);
    }

    /// Somebody sets the wall clock right.
    pub(crate) fn set_clock_right(&self) {
        if self.wall_offset_ms.swap(0, Ordering::Relaxed) != 0 {
            self.world.event(format_args!("node {}'s clock is set right", self.id));
        }
    }

    /// Does something as this node's process; nothing where it does not run or dies meanwhile.
    pub(crate) async fn with<T, F>(&self, act: impl FnOnce(Arc<Running>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (life, running) = self.lock().process.clone()?;
        life.run(act(running)).await
    }

    fn refuse(&self, reason: &str) {
        self.world.event(format_args!("node {} does not start: {reason}", self.id));
        self.lock().refused = true;
        if self.plant != Some(Plant::SkippedFsync) {
            let text = format!("node {}: {reason}", self.id);
            self.world.report(Violation::new("what was synced is read back", text));
        }
    }

    fn parts(&self, life: &Life) -> RunningParts {
        let mut inner = self.lock();
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&inner.boot.to_le_bytes());
        boot_id[8..].copy_from_slice(&self.id.to_le_bytes());
        let ports =
            crate::world::ports(&self.world, inner.dice.roll(), self.wall_offset_ms.clone(), life);
        RunningParts {
            node_id: self.id,
            world: self.world.clone(),
            network: self.network.clone(),
            keys: self.keys.clone(),
            plant: self.plant,
            disk: Arc::new(LivingDisk::new(life.clone(), self.disk.clone())),
            engine: self.engine.clone(),
            boot_id,
            life: life.clone(),
            ports,
            dice: Dice::new(inner.dice.roll(), self.id),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polled this often while something is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(10);

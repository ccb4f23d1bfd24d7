//! One simulated machine: a disk, an engine, clocks, and the process that runs on them. What node it
//! is may change: a machine that was wiped comes back under its name with another id.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use conclave_ports::Spawn;
use conclave_proto::v1;
use conclave_raft::StaysOut;
use conclave_store::disk::MemoryDisk;
use conclave_store::identity::{Identity, IdentityStore, Out};
use conclave_store::log::LogWriter;
use conclave_store::state::{Loss, MemoryEngine};
use futures::FutureExt;

use crate::Plant;
use crate::invariants::Violation;
use crate::world::{
    Damage, Dice, Doing, Endpoint, Life, LivingDisk, Mood, Network, Started, World, copy_of,
};

mod opened;
mod plants;
mod running;

use opened::{OpenError, Opened, RunningParts, StartError};
pub(crate) use running::{RESERVE_BYTES, Running, SEALED};

pub(crate) const CLUSTER_ID: [u8; 16] = *b"simulated cluste";
/// A machine's monotonic clock shows up to this when it starts.
const MONOTONIC_US_MAX: u64 = 40 * 86_400 * 1_000_000;

/// What the simulation knows of the cluster's secrets, once it is initialised.
pub(crate) struct Keys {
    pub(crate) root_key: [u8; 32],
    pub(crate) token: String,
}

/// A machine.
pub(crate) struct Machine {
    /// From 1; also its name and its place in the network.
    pub(crate) number: u64,
    pub(crate) mood: Arc<Mood>,
    world: Arc<World>,
    network: Network,
    keys: Arc<OnceLock<Keys>>,
    plant: Option<Plant>,
    wall_offset_ms: Arc<AtomicI64>,
    inner: Mutex<Inner>,
}

struct Inner {
    dice: Dice,
    disk: MemoryDisk,
    engine: Arc<MemoryEngine>,
    /// Changes when the machine boots, not when the process does.
    boot: u64,
    started: Started,
    /// Disks it had before this one.
    wipes: u64,
    /// The node that its disk makes it.
    node_id: Option<u64>,
    process: Option<Process>,
    standing: Standing,
    /// Somebody works on it: it is not started.
    held: bool,
    /// Its files were damaged, or went back in time: it need not open, or take part.
    spoiled: bool,
    /// The newest entry that the disk has since it went back in time.
    rolled_back_to: Option<u64>,
    /// The cluster goes on without it.
    removed: bool,
    /// As its disk was once, and the newest entry that its log had then.
    copy: Option<(MemoryDisk, u64)>,
}

struct Process {
    life: Life,
    began: Duration,
    /// The highest that the wall clock showed beyond the true time.
    offset_ms_max: i64,
    writer: Arc<Mutex<LogWriter>>,
    running: Arc<OnceLock<Arc<Running>>>,
}

/// What became of a machine's last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing speaks against its taking part.
    Good,
    /// Its files do not open.
    Refused,
    /// It was told to stay out.
    Out,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The kernel lives on, with all that was written.
    Crash,
    /// The machine loses what was not synced.
    PowerCut,
}

impl Machine {
    pub(crate) fn new(
        number: u64,
        seed: u64,
        (world, network): (&Arc<World>, &Network),
        keys: &Arc<OnceLock<Keys>>,
        plant: Option<Plant>,
    ) -> Arc<Self> {
        let mut dice = Dice::new(seed, 100 + number);
        let started = Started { at: Duration::ZERO, showing: dice.duration(0, MONOTONIC_US_MAX) };
        let inner = Inner {
            dice,
            disk: MemoryDisk::new(),
            engine: Arc::new(MemoryEngine::new()),
            boot: 1,
            started,
            wipes: 0,
            node_id: None,
            process: None,
            standing: Standing::Good,
            held: false,
            spoiled: false,
            rolled_back_to: None,
            removed: false,
            copy: None,
        };
        Arc::new(Self {
            number,
            mood: Arc::default(),
            world: world.clone(),
            network: network.clone(),
            keys: keys.clone(),
            plant,
            wall_offset_ms: Arc::default(),
            inner: Mutex::new(inner),
        })
    }

    pub(crate) fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    /// The node that its disk makes it, whether it runs or not.
    pub(crate) fn node_id(&self) -> Option<u64> {
        self.lock().node_id
    }

    /// How membership is to name it under an id.
    pub(crate) fn member(&self, node_id: u64) -> v1::Member {
        let mut pin = [0; 32];
        pin[..8].copy_from_slice(&self.number.to_le_bytes());
        pin[8..16].copy_from_slice(&self.lock().wipes.to_le_bytes());
        v1::Member {
            node_id,
            name: self.name(),
            cluster_addr: format!("{}:8201", self.name()),
            api_addr: format!("https://{}:8200", self.name()),
            spki_pin: pin.to_vec().into(),
            voter_wanted: true,
            approved: true,
        }
    }

    /// The process, if it takes part.
    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        let inner = self.lock();
        let process = inner.process.as_ref().filter(|process| !process.life.has_ended())?;
        process.running.get().cloned()
    }

    pub(crate) fn standing(&self) -> Standing {
        self.lock().standing
    }

    /// Whether nothing it does is held against it: its disk or its place in the cluster were
    /// spoiled on purpose.
    pub(crate) fn is_excused(&self) -> bool {
        let inner = self.lock();
        inner.spoiled || inner.removed || self.mood.is_failing()
    }

    /// When its process began; never, where none runs.
    pub(crate) fn began(&self) -> Duration {
        let inner = self.lock();
        inner.process.as_ref().map_or(Duration::MAX, |process| process.began)
    }

    /// The most that its wall clock showed beyond the true time since its process began.
    pub(crate) fn highest_offset_ms(&self) -> i64 {
        let now = self.wall_offset_ms.load(Ordering::Relaxed);
        self.lock().process.as_ref().map_or(now, |process| now.max(process.offset_ms_max))
    }

    /// All that a fault may have done to it is undone.
    pub(crate) fn heal(&self) {
        if !self.is_spoiled() {
            self.mood.mend();
        }
        // Where no two clocks agree, a cluster that lost its power writes nothing, rightly.
        self.set_clock_right();
        let mut inner = self.lock();
        inner.held = false;
        inner.disk.fail_syncs(false);
        inner.disk.set_space_bytes_max(None);
    }

    /// It does not belong to the cluster: its process ends.
    pub(crate) fn retire(&self) {
        self.end_process();
    }

    /// From now on syncs succeed and make nothing durable.
    pub(crate) fn plant_skipped_fsync(&self) {
        self.lock().disk.skip_fsync(true);
    }

    /// What its disk does wrong is told to the disk.
    pub(crate) fn disk(&self) -> MemoryDisk {
        self.lock().disk.clone()
    }

    /// Gives a machine with an empty disk a place in the cluster.
    pub(crate) fn become_node(&self, node_id: u64, joined: Option<v1::Membership>) {
        let identities = IdentityStore::open(Arc::new(self.disk())).expect("a new disk opens");
        let identity = Identity {
            cluster_id: CLUSTER_ID.to_vec().into(),
            node_id,
            node_name: self.name(),
            joined,
            ..Identity::default()
        };
        identities.save(&identity).expect("a new disk takes an identity");
        self.lock().node_id = Some(node_id);
    }

    /// Starts the process on what is on the disk; it takes part once it has greeted its peers.
    /// Whatever does not open is a violation, except where it was spoiled on purpose.
    pub(crate) fn start(self: &Arc<Self>) {
        if !self.may_start() {
            return;
        }
        let life = Life::begin(&self.world);
        let opened = Opened::open(self.parts(&life));
        if life.has_ended() {
            // The power failed meanwhile.
            return life.bury();
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(OpenError(reason)) => {
                life.bury();
                return self.refuse(&reason);
            }
        };
        let running = Arc::new(OnceLock::new());
        let process = Process {
            life: life.clone(),
            began: self.world.clock.elapsed(),
            offset_ms_max: self.wall_offset_ms.load(Ordering::Relaxed),
            writer: opened.writer(),
            running: running.clone(),
        };
        let endpoint = Endpoint {
            life: life.clone(),
            node_id: opened.node_id(),
            greeter: opened.greeter.clone(),
            running,
        };
        self.network.attach(self.number, endpoint);
        self.lock().process = Some(process);
        let node = self.clone();
        life.spawn("starting", async move { node.take_part(opened).await }.boxed());
    }

    async fn take_part(self: Arc<Self>, opened: Opened) {
        let remembered = self.network.remembered_by_all(opened.node_id());
        match opened.take_part().await {
            Ok(running) => self.begin(running, remembered),
            Err(StartError::Failed(OpenError(reason))) => {
                self.end_process();
                self.refuse(&reason);
            }
            Err(StartError::Out(out)) => {
                self.end_process();
                self.stay_out(&out);
            }
        }
    }

    /// `remembered` by its peers before it greeted them: where they live on, they told it.
    fn begin(&self, running: Arc<Running>, remembered: Option<(u64, Vec<Life>)>) {
        self.world.event(format_args!("{} starts as {}", self.name(), running.node_id));
        let inner = self.lock();
        let told = remembered
            .filter(|(_, peers)| peers.iter().all(|peer| !peer.has_ended()))
            .and_then(|(seen, _)| Some(inner.rolled_back_to? < seen));
        if told == Some(true) {
            let text = format!("{} takes part", self.name());
            self.world.report(Violation::new("a disk that went back in time is noticed", text));
        }
        if let Some(process) = &inner.process {
            // Only this task sets it.
            drop(process.running.set(running));
        }
    }

    /// Ends the process at once, with a last batch half on its way to the disk or not.
    pub(crate) fn end(&self, how: End) {
        if self.lock().process.is_some() {
            self.world.event(format_args!("{} ends: {how:?}", self.name()));
            let count = match how {
                End::Crash => |coverage: &mut crate::Coverage| coverage.crashes += 1,
                End::PowerCut => |coverage: &mut crate::Coverage| coverage.power_cuts += 1,
            };
            self.world.count(count);
        }
        self.write_last_batch_unsynced();
        self.end_process();
        let mut inner = self.lock();
        let now = self.world.clock.elapsed();
        let Inner { dice, boot, started, disk, engine, .. } = &mut *inner;
        match how {
            End::Crash => engine.crash(Loss::Suffix, &mut || dice.roll()),
            End::PowerCut => {
                *boot += 1;
                *started = Started { at: now, showing: dice.duration(0, MONOTONIC_US_MAX) };
                disk.power_cut(|| dice.roll());
                let loss = *dice.pick(&[Loss::All, Loss::Suffix, Loss::Torn]);
                engine.crash(loss, &mut || dice.roll());
            }
        }
        self.forget_vote(&mut inner);
    }

    /// What a process does last, half of the time: a batch is written, and its sync never returns.
    fn write_last_batch_unsynced(&self) {
        let mut inner = self.lock();
        let writes = inner.dice.chance(500);
        let Some(process) = &inner.process else { return };
        if !writes || process.life.has_ended() || self.mood.is_hung() {
            return;
        }
        inner.disk.fail_syncs(true);
        lock(&process.writer).drain();
        inner.disk.fail_syncs(false);
    }

    fn end_process(&self) {
        self.network.detach(self.number);
        let Some(process) = self.lock().process.take() else { return };
        process.life.end();
        self.lock().disk.crash();
        process.life.bury();
    }

    /// The planted bug.
    fn forget_vote(&self, inner: &mut Inner) {
        if self.plant == Some(Plant::ForgottenVote) && inner.dice.chance(500) {
            let forgotten = plants::forget_vote(&inner.disk, boot_id(inner.boot, self.number));
            if forgotten.is_some() {
                self.world.event(format_args!("{} forgets a vote", self.name()));
            }
        }
    }

    /// Sets the wall clock forward or back.
    pub(crate) fn jump_clock(&self, by: i64) {
        self.world.count(|coverage| coverage.clock_jumps += 1);
        self.world.event(format_args!("{}'s clock jumps by {by} ms", self.name()));
        let offset_ms = self.wall_offset_ms.fetch_add(by, Ordering::Relaxed) + by;
        if let Some(process) = &mut self.lock().process {
            process.offset_ms_max = process.offset_ms_max.max(offset_ms);
        }
    }

    /// Somebody sets the wall clock right.
    pub(crate) fn set_clock_right(&self) {
        if self.wall_offset_ms.swap(0, Ordering::Relaxed) != 0 {
            self.world.event(format_args!("{}'s clock is set right", self.name()));
        }
    }

    /// Does something as this node's process; nothing where it does not run or dies meanwhile.
    pub(crate) async fn with<T, F>(&self, act: impl FnOnce(Arc<Running>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let running = self.running()?;
        let life = self.lock().process.as_ref()?.life.clone();
        life.run(act(running)).await
    }

    /// Keeps it from being started, or no more.
    pub(crate) fn hold(&self, held: bool) {
        self.lock().held = held;
    }

    /// The cluster goes on without it, or counts on it again.
    pub(crate) fn set_removed(&self, removed: bool) {
        self.lock().removed = removed;
    }

    /// Keeps a copy of its disk.
    pub(crate) fn take_copy(&self) {
        let last = self.running().and_then(|running| running.log.state().last);
        let mut inner = self.lock();
        inner.copy = Some((copy_of(&inner.disk), last.map_or(u64::MAX, |id| id.index)));
    }

    /// Whether a copy of its disk was kept, of this life of it.
    pub(crate) fn has_copy(&self) -> bool {
        self.lock().copy.is_some()
    }

    /// What was done to its disk has passed; a spoiled one stays so.
    pub(crate) fn is_good_again(&self) {
        if !self.is_spoiled() {
            self.mood.failing.store(false, Ordering::Relaxed);
        }
    }

    /// Whether its disk is not what it was, by a fault.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.lock().spoiled
    }

    /// Damages a file of a process that does not run.
    pub(crate) fn damage(&self, damage: Damage) {
        let mut inner = self.lock();
        let Inner { disk, copy, dice, engine, spoiled, .. } = &mut *inner;
        let struck = damage.strike(disk, copy.as_ref().map(|(disk, _)| disk), dice);
        let engine_too = dice.chance(200) && engine.damage(&mut || dice.roll());
        if struck.is_none() && !engine_too {
            return;
        }
        *spoiled = true;
        drop(inner);
        self.mood.failing.store(true, Ordering::Relaxed);
        self.world.count(|coverage| coverage.damages += 1);
        let what = struck.unwrap_or_default();
        self.world.event(format_args!("{}: {damage:?} of {what:?}", self.name()));
    }

    /// Puts the copy back, of the whole disk. It must be told so where every peer remembers more.
    pub(crate) fn roll_back(&self) {
        let mut inner = self.lock();
        let Some((copy, last)) = inner.copy.take() else { return };
        inner.disk = copy;
        inner.engine = Arc::new(MemoryEngine::new());
        inner.spoiled = true;
        inner.rolled_back_to = Some(last);
        drop(inner);
        self.mood.failing.store(true, Ordering::Relaxed);
        self.world.count(|coverage| coverage.rollbacks += 1);
        self.world.event(format_args!("{}'s disk goes back in time", self.name()));
    }

    /// An operator gives it an empty disk.
    pub(crate) fn wipe(&self) {
        self.end_process();
        self.mood.mend();
        let mut inner = self.lock();
        inner.disk = MemoryDisk::new();
        inner.engine = Arc::new(MemoryEngine::new());
        inner.wipes += 1;
        inner.node_id = None;
        inner.standing = Standing::Good;
        inner.held = false;
        inner.spoiled = false;
        inner.rolled_back_to = None;
        inner.removed = false;
        inner.copy = None;
        drop(inner);
        self.world.count(|coverage| coverage.wipes += 1);
        self.world.event(format_args!("{} is wiped", self.name()));
    }

    /// Whether its disk has no fault that is to end a process, and a start makes sense.
    fn may_start(&self) -> bool {
        let inner = self.lock();
        let ended = inner.process.as_ref().is_some_and(|process| process.life.has_ended());
        if inner.held || inner.node_id.is_none() || inner.standing != Standing::Good {
            return false;
        }
        match &inner.process {
            None => true,
            Some(_) if ended => {
                // It ended by itself. What was spoiled is not tried again.
                let spoiled = inner.spoiled;
                drop(inner);
                self.end(End::Crash);
                if spoiled {
                    self.refuse("it ended by itself");
                }
                !spoiled
            }
            Some(_) => false,
        }
    }

    fn refuse(&self, reason: &str) {
        self.world.event(format_args!("{} does not start: {reason}", self.name()));
        if (self.mood.is_failing() || self.mood.is_full()) && !self.is_spoiled() {
            // It is started again once its disk works.
            return;
        }
        self.lock().standing = Standing::Refused;
        if self.is_excused() {
            self.world.count(|coverage| coverage.refused_disks += 1);
        } else if self.plant != Some(Plant::SkippedFsync) {
            let text = format!("{}: {reason}", self.name());
            self.world.report(Violation::new("what was synced is read back", text));
        }
    }

    fn stay_out(&self, out: &StaysOut) {
        self.world.event(format_args!("{} stays out: {out}", self.name()));
        self.lock().standing = Standing::Out;
        if !self.is_excused() {
            let text = format!("{}: {out}", self.name());
            self.world.report(Violation::new("who has all it had takes part", text));
        }
        self.world.count(|coverage| match out.why {
            Out::RolledBack => coverage.told_rolled_back += 1,
            Out::Fenced => coverage.told_fenced += 1,
            Out::Quarantined => {}
        });
    }

    fn parts(&self, life: &Life) -> RunningParts {
        let mut inner = self.lock();
        let doing = Arc::new(Doing::default());
        let clock = (self.wall_offset_ms.clone(), inner.started);
        let ports = crate::world::ports(&self.world, inner.dice.roll(), clock, life);
        let disk = LivingDisk::new(life.clone(), doing.clone(), self.plant, inner.disk.clone());
        RunningParts {
            world: self.world.clone(),
            network: self.network.clone(),
            keys: self.keys.clone(),
            plant: self.plant,
            disk: Arc::new(disk),
            engine: inner.engine.clone(),
            mood: self.mood.clone(),
            doing,
            boot_id: boot_id(inner.boot, self.number),
            life: life.clone(),
            ports,
            dice: Dice::new(inner.dice.roll(), self.number),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

fn boot_id(boot: u64, machine: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&boot.to_le_bytes());
    id[8..].copy_from_slice(&machine.to_le_bytes());
    id
}

/// A panic while it is held is reported by the task that panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polled this often while something is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(10);

//! What surrounds a simulated node: time, chance, tasks that die with their process, disks on which
//! the power may fail, a network.

mod clock;
mod damage;
mod disk;
mod life;
mod network;
mod power;
mod rng;
mod runtime;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_ports::Ports;

pub(crate) use clock::{SimClock, Started};
pub(crate) use damage::{Damage, copy_of};
pub(crate) use disk::{Doing, LivingDisk, LivingEngine, Mood};
pub(crate) use life::Life;
pub(crate) use network::{CLIENT, Endpoint, Link, Network, PeerLinks, Serve};
pub(crate) use power::{Cut, Moment, Power};
pub(crate) use rng::{Dice, SimRng};
pub(crate) use runtime::NodeRuntime;

use crate::coverage::Coverage;
use crate::invariants::Violation;
use crate::trace::Trace;
use life::WeakLife;

/// What all parts of one run share.
pub(crate) struct World {
    pub(crate) clock: SimClock,
    pub(crate) trace: Trace,
    pub(crate) power: Power,
    /// For what has no stream of its own.
    dice: Mutex<Dice>,
    lives: Mutex<Vec<WeakLife>>,
    coverage: Mutex<Coverage>,
    violation: Mutex<Option<Violation>>,
}

impl World {
    /// **Inside the runtime only**: the clock begins here.
    pub(crate) fn new(seed: u64, keep_lines: bool) -> Arc<Self> {
        let clock = SimClock::begin();
        Arc::new(Self {
            trace: Trace::new(keep_lines),
            clock,
            power: Power::default(),
            dice: Mutex::new(Dice::new(seed, 6)),
            lives: Mutex::default(),
            coverage: Mutex::default(),
            violation: Mutex::default(),
        })
    }

    /// Adds a line to the trace.
    pub(crate) fn event(&self, text: impl std::fmt::Display) {
        self.trace.event(self.clock.elapsed(), text);
    }

    /// Counts what happened.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Coverage)) {
        count(&mut lock(&self.coverage));
    }

    /// What happened so far.
    pub(crate) fn coverage(&self) -> Coverage {
        lock(&self.coverage).clone()
    }

    /// Notes a violation; the first one stands and ends the run.
    pub(crate) fn report(&self, violation: Violation) {
        let mut held = lock(&self.violation);
        if held.is_none() {
            self.event(format_args!("VIOLATION {violation}"));
            *held = Some(violation);
        }
    }

    /// Notes the violation of a check.
    pub(crate) fn check(&self, checked: Result<(), Violation>) {
        if let Err(violation) = checked {
            self.report(violation);
        }
    }

    /// The first violation.
    pub(crate) fn violation(&self) -> Option<Violation> {
        lock(&self.violation).clone()
    }

    /// Every process ends where it stands: the power failed.
    fn end_all(&self, moment: Moment) {
        self.event(format_args!("the power fails: {moment:?}"));
        lock(&self.lives).iter().filter_map(WeakLife::upgrade).for_each(|life| life.end());
    }

    /// A process begins.
    fn note_life(&self, life: WeakLife) {
        let mut lives = lock(&self.lives);
        lives.retain(|life| life.upgrade().is_some());
        lives.push(life);
    }

    fn blocking_time(&self) -> Duration {
        let mut dice = lock(&self.dice);
        let slow = dice.chance(100);
        if slow { dice.duration(20_000, 400_000) } else { dice.duration(500, 20_000) }
    }
}

/// A panic while it is held is reported by the task that panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ports of one process: its machine's clocks, tasks that end with `life`.
pub(crate) fn ports(
    world: &World,
    seed: u64,
    (wall_offset_ms, started): (Arc<AtomicI64>, Started),
    life: &Life,
) -> Ports {
    Ports {
        clock: Arc::new(world.clock.on_machine(wall_offset_ms, started)),
        rng: Arc::new(SimRng::new(seed)),
        spawn: Arc::new(life.clone()),
    }
}

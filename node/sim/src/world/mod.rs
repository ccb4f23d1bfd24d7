//! What surrounds a simulated node: time, chance, tasks that die with their process, a network.

mod clock;
mod disk;
mod life;
mod network;
mod rng;
mod runtime;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use conclave_ports::Ports;

pub(crate) use clock::SimClock;
pub(crate) use disk::LivingDisk;
pub(crate) use life::Life;
pub(crate) use network::{CLIENT, Link, Network, PeerLinks, Serve};
pub(crate) use rng::{Dice, SimRng};
pub(crate) use runtime::NodeRuntime;

use crate::coverage::Coverage;
use crate::invariants::Violation;
use crate::trace::Trace;

/// What all parts of one run share.
pub(crate) struct World {
    pub(crate) clock: SimClock,
    pub(crate) trace: Trace,
    coverage: Mutex<Coverage>,
    violation: Mutex<Option<Violation>>,
}

impl World {
    /// **Inside the runtime only**: the clock begins here.
    pub(crate) fn new(keep_lines: bool) -> Arc<Self> {
        let clock = SimClock::begin();
        Arc::new(Self {
            trace: Trace::new(keep_lines),
            clock,
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
        count(&mut self.coverage.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What happened so far.
    pub(crate) fn coverage(&self) -> Coverage {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a violation; the first one stands and ends the run.
    pub(crate) fn report(&self, violation: Violation) {
        let mut held = self.violation.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.violation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The ports of one process: its wall clock is off by `wall_offset_ms`, its tasks end with `life`.
pub(crate) fn ports(
    world: &World,
    seed: u64,
    wall_offset_ms: Arc<AtomicI64>,
    life: &Life,
) -> Ports {
    Ports {
        clock: Arc::new(world.clock.with_offset(wall_offset_ms)),
        rng: Arc::new(SimRng::new(seed)),
        spawn: Arc::new(life.clone()),
    }
}

//! Virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use conclave_ports::Clock;
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime};

/// The wall clock that all runs begin at.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// The runtime's time. The wall clock is the same time plus an offset that a fault may change; the
/// monotonic one began somewhere when the machine was started.
#[derive(Clone)]
pub(crate) struct SimClock {
    origin: SimInstant,
    wall_offset_ms: Arc<AtomicI64>,
    started: Started,
}

/// A machine's start: when it was, and what its monotonic clock showed then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Started {
    pub(crate) at: Duration,
    pub(crate) showing: Duration,
}

impl SimClock {
    /// Time begins now.
    pub(crate) fn begin() -> Self {
        Self {
            origin: SimInstant::now(),
            wall_offset_ms: Arc::default(),
            started: Started::default(),
        }
    }

    /// The same time on a machine with a wall clock of its own, since it was started.
    pub(crate) fn on_machine(&self, wall_offset_ms: Arc<AtomicI64>, started: Started) -> Self {
        Self { origin: self.origin, wall_offset_ms, started }
    }

    /// Since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        SimInstant::now() - self.origin
    }

    /// What a wall clock that is right shows.
    pub(crate) fn true_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        let wall = self.true_ms() + self.wall_offset_ms.load(Ordering::Relaxed);
        u64::try_from(wall).unwrap_or(0)
    }

    fn monotonic(&self) -> Duration {
        self.started.showing + self.elapsed().saturating_sub(self.started.at)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SimRuntime::sleep(duration).boxed()
    }
}

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

/// The runtime's time. The wall clock is the same time plus an offset that a fault may change.
#[derive(Clone)]
pub(crate) struct SimClock {
    origin: SimInstant,
    wall_offset_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// Time begins now.
    pub(crate) fn begin() -> Self {
        Self { origin: SimInstant::now(), wall_offset_ms: Arc::default() }
    }

    /// The same time with another wall clock.
    pub(crate) fn with_offset(&self, wall_offset_ms: Arc<AtomicI64>) -> Self {
        Self { origin: self.origin, wall_offset_ms }
    }

    /// Since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        SimInstant::now() - self.origin
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        let elapsed_ms = i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX);
        let wall = EPOCH_MS + elapsed_ms + self.wall_offset_ms.load(Ordering::Relaxed);
        u64::try_from(wall).unwrap_or(0)
    }

    fn monotonic(&self) -> Duration {
        self.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SimRuntime::sleep(duration).boxed()
    }
}

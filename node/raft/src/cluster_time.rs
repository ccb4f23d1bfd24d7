//! The time that leaders stamp into commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conclave_ports::Clock;

/// Never goes back on this node, and never behind any stamp this node applied or heard of.
pub(crate) struct ClusterTime {
    clock: Arc<dyn Clock>,
    floor_ms: AtomicU64,
}

impl ClusterTime {
    pub(crate) fn new(clock: Arc<dyn Clock>, stamped_ms: u64) -> Self {
        Self { clock, floor_ms: AtomicU64::new(stamped_ms) }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        let wall_ms = self.clock.wall_ms();
        wall_ms.max(self.floor_ms.fetch_max(wall_ms, Ordering::AcqRel))
    }

    /// Takes note of a stamp of the cluster.
    pub(crate) fn observe(&self, stamped_ms: u64) {
        self.floor_ms.fetch_max(stamped_ms, Ordering::AcqRel);
    }
}

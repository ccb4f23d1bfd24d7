//! The few facts about a node that its tasks share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::progress::Progress;

/// Each is set in one place and read in many.
#[derive(Debug)]
pub(crate) struct Flags {
    /// By the owner, at every seal and unseal.
    sealed: AtomicBool,
    /// By the hash exchange; never taken back.
    quarantined: AtomicBool,
    /// Raised by shutdown and quarantine.
    stopped: Progress,
    /// Monotonic milliseconds at which a leader or a candidate worth a vote was last heard.
    heard_ms: AtomicU64,
}

impl Flags {
    pub(crate) fn new(now: Duration) -> Self {
        let flags = Self {
            sealed: AtomicBool::new(true),
            quarantined: AtomicBool::new(false),
            stopped: Progress::default(),
            heard_ms: AtomicU64::new(0),
        };
        flags.hear(now);
        flags
    }

    pub(crate) fn sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(crate) fn set_sealed(&self, sealed: bool) {
        self.sealed.store(sealed, Ordering::Release);
    }

    pub(crate) fn quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Acquire)
    }

    pub(crate) fn quarantine(&self) {
        self.quarantined.store(true, Ordering::Release);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopped.get() > 0
    }

    pub(crate) fn stop(&self) {
        self.stopped.raise(1);
    }

    /// Completes once the node stops.
    pub(crate) async fn stopped(&self) {
        self.stopped.reached(1).await;
    }

    pub(crate) fn heard(&self) -> Duration {
        Duration::from_millis(self.heard_ms.load(Ordering::Acquire))
    }

    pub(crate) fn hear(&self, now: Duration) {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.fetch_max(now_ms, Ordering::AcqRel);
    }
}

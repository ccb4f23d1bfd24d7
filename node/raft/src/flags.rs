//! The few facts about a node that its tasks share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::Readiness;
use crate::progress::Progress;

/// Each is set in one place and read in many.
#[derive(Debug)]
pub(crate) struct Flags {
    /// By the owner: at every seal and unseal, and as the disk fills.
    readiness: AtomicU8,
    /// By the disk watch.
    slow_disk: AtomicBool,
    /// By the exchange of states; never taken back.
    quarantined: AtomicBool,
    /// By the same; never taken back.
    fenced: AtomicBool,
    /// As a peer told it; never taken back.
    rolled_back: AtomicBool,
    /// By the observer, where Raft's core ended without a word.
    died: AtomicBool,
    /// Raised by shutdown, quarantine and fencing.
    stopped: Progress,
    /// Monotonic milliseconds at which a leader or a candidate worth a vote was last heard.
    heard_ms: AtomicU64,
}

impl Flags {
    pub(crate) fn new(now: Duration) -> Self {
        let flags = Self {
            readiness: AtomicU8::new(SEALED),
            slow_disk: AtomicBool::new(false),
            quarantined: AtomicBool::new(false),
            died: AtomicBool::new(false),
            fenced: AtomicBool::new(false),
            rolled_back: AtomicBool::new(false),
            stopped: Progress::default(),
            heard_ms: AtomicU64::new(0),
        };
        flags.hear(now);
        flags
    }

    pub(crate) fn readiness(&self) -> Readiness {
        match self.readiness.load(Ordering::Acquire) {
            READY => Readiness::Ready,
            FULL => Readiness::Full,
            _ => Readiness::Sealed,
        }
    }

    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        let number = match readiness {
            Readiness::Sealed => SEALED,
            Readiness::Full => FULL,
            Readiness::Ready => READY,
        };
        self.readiness.store(number, Ordering::Release);
    }

    pub(crate) fn sealed(&self) -> bool {
        self.readiness() == Readiness::Sealed
    }

    /// Full, or too slow to lead.
    pub(crate) fn unfit(&self) -> bool {
        self.slow_disk.load(Ordering::Acquire) || self.readiness() == Readiness::Full
    }

    /// Whether it may lead as others do. Elsewhere it is a caretaker at most.
    pub(crate) fn fit(&self) -> bool {
        self.readiness() == Readiness::Ready && !self.slow_disk.load(Ordering::Acquire)
    }

    /// True where that is news.
    pub(crate) fn set_slow_disk(&self, slow: bool) -> bool {
        self.slow_disk.swap(slow, Ordering::AcqRel) != slow
    }

    pub(crate) fn quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Acquire)
    }

    pub(crate) fn quarantine(&self) {
        self.quarantined.store(true, Ordering::Release);
    }

    pub(crate) fn fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    pub(crate) fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
    }

    pub(crate) fn rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::Acquire)
    }

    pub(crate) fn roll_back(&self) {
        self.rolled_back.store(true, Ordering::Release);
    }

    pub(crate) fn died(&self) -> bool {
        self.died.load(Ordering::Acquire)
    }

    pub(crate) fn die(&self) {
        self.died.store(true, Ordering::Release);
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

const SEALED: u8 = 0;
const FULL: u8 = 1;
const READY: u8 = 2;

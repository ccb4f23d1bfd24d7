//! The time that leaders stamp into commands.
//!
//! A node keeps the cluster time it heard last and its monotonic clock at that moment; since then
//! exactly as much time has passed as that clock says. So wall clocks may jump, stop or lie: they
//! count only where nobody in the cluster has heard a time since it started (see
//! [`crate::clocks`]). What the log holds is old by an unknown while; it is a lower bound, and
//! never a time heard.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_ports::Clock;

use crate::progress::Progress;

/// Times beyond this (some 285,000 years) are nonsense from a peer and are not heard.
const TIME_MS_MAX: u64 = 1 << 53;

/// The cluster time as one node has it.
pub(crate) struct ClusterTime {
    clock: Arc<dyn Clock>,
    pairing: Mutex<Pairing>,
    /// 1 once the time is known.
    known: Progress,
}

impl ClusterTime {
    /// `stamped_ms` is the newest stamp that the state holds.
    pub(crate) fn new(clock: Arc<dyn Clock>, stamped_ms: u64) -> Self {
        let pairing = Pairing { heard: None, floor_ms: stamped_ms };
        Self { clock, pairing: Mutex::new(pairing), known: Progress::default() }
    }

    /// Milliseconds since the Unix epoch, where this node has heard a time since it started.
    pub(crate) fn now(&self) -> Option<u64> {
        let pairing = self.lock();
        pairing.now(self.clock.monotonic())
    }

    /// Takes note of a time that is now, from a leader's message or an agreement of clocks.
    pub(crate) fn hear(&self, cluster_ms: u64) {
        if cluster_ms == 0 || cluster_ms > TIME_MS_MAX {
            return;
        }
        {
            let mut pairing = self.lock();
            pairing.hear(cluster_ms, self.clock.monotonic());
        }
        self.known.raise(1);
    }

    /// Takes note of the stamp of an applied entry: a time that is past.
    pub(crate) fn applied(&self, stamped_ms: u64) {
        let mut pairing = self.lock();
        pairing.applied(stamped_ms, self.clock.monotonic());
    }

    /// Completes once the time is known.
    pub(crate) async fn known(&self) {
        self.known.reached(1).await;
    }

    fn lock(&self) -> MutexGuard<'_, Pairing> {
        // Two numbers that are written together: whole at every moment.
        self.pairing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of the cluster's time.
#[derive(Debug, Clone, Copy)]
struct Pairing {
    /// A cluster time, and this node's monotonic clock then.
    heard: Option<(u64, Duration)>,
    /// No stamp that was applied is newer.
    floor_ms: u64,
}

impl Pairing {
    fn now(&self, monotonic: Duration) -> Option<u64> {
        let (cluster_ms, at) = self.heard?;
        let elapsed = monotonic.saturating_sub(at).as_millis();
        Some(cluster_ms.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX)))
    }

    /// A message that was under way for long tells an older time than what is known: it changes
    /// nothing.
    fn hear(&mut self, cluster_ms: u64, monotonic: Duration) {
        let cluster_ms = cluster_ms.max(self.floor_ms);
        if self.now(monotonic).is_none_or(|now| now < cluster_ms) {
            self.heard = Some((cluster_ms, monotonic));
        }
    }

    fn applied(&mut self, stamped_ms: u64, monotonic: Duration) {
        self.floor_ms = self.floor_ms.max(stamped_ms);
        // It happened at that time or later; but alone it does not say how long ago.
        if self.heard.is_some() {
            self.hear(stamped_ms, monotonic);
        }
    }
}

#[cfg(test)]
mod tests;

//! A counter that tasks wait on.
//!
//! Built on `Notify`, which wakes waiters in the order they came: tokio's own watch channel picks
//! by a random number and would make a simulation differ from run to run.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Only ever rises.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    value: AtomicU64,
    risen: Notify,
}

impl Progress {
    pub(crate) fn at(value: u64) -> Self {
        Self { value: AtomicU64::new(value), risen: Notify::new() }
    }

    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    /// Raises the value; a lower one changes nothing.
    pub(crate) fn raise(&self, value: u64) {
        if self.value.fetch_max(value, Ordering::AcqRel) < value {
            self.risen.notify_waiters();
        }
    }

    /// Raises the value by one.
    pub(crate) fn bump(&self) {
        self.value.fetch_add(1, Ordering::AcqRel);
        self.risen.notify_waiters();
    }

    /// Completes once the value is at least `value`.
    pub(crate) async fn reached(&self, value: u64) {
        loop {
            let mut risen = std::pin::pin!(self.risen.notified());
            // Registered before the check, so that a rise in between is not missed.
            risen.as_mut().enable();
            if self.get() >= value {
                return;
            }
            risen.await;
        }
    }
}

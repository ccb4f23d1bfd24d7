//! The one place that writes.

use std::io;
use std::sync::Arc;

use super::figures::LogEvent;
use super::journal::Journal;
use super::shared::{Ending, Operation, Queued, Shared};

/// The one place that writes. A thread runs [`LogWriter::run`]; the simulation drives
/// [`LogWriter::drain`]. Once it is dropped every operation fails.
pub struct LogWriter {
    shared: Arc<Shared>,
    journal: Journal,
    observer: Box<dyn Fn(LogEvent) + Send>,
    failed: bool,
}

impl LogWriter {
    pub(super) fn new(shared: Arc<Shared>, journal: Journal) -> Self {
        Self { shared, journal, observer: Box::new(|_| {}), failed: false }
    }

    /// Writes and syncs all that is queued as one group (up to [`super::GROUP_BYTES_MAX`], then
    /// the rest waits for the next call), then calls the callbacks. False where nothing was
    /// queued.
    pub fn drain(&mut self) -> bool {
        let group = self.shared.take_group();
        if group.is_empty() {
            return false;
        }
        match self.journal.commit(group.iter().map(|queued| &queued.operation), &self.observer) {
            Ok(committed) => {
                let oldest = self.shared.settle(&group, committed);
                let operations = group.len();
                group.into_iter().for_each(answer);
                (self.observer)(LogEvent::GroupEnded { operations });
                self.journal.remove_before(oldest);
            }
            Err(error) => self.fail(group, &error),
        }
        true
    }

    /// Drains until the log is closed or fails, sleeping while nothing is queued.
    pub fn run(mut self) {
        if let Err(error) = self.journal.start_thread() {
            tracing::warn!(%error, "log segments are prepared by the writer itself, which is slower");
        }
        while !self.failed && self.shared.wait() {
            self.drain();
        }
        self.journal.stop_thread();
    }

    /// Called after an operation was queued; for drivers without a thread.
    pub fn set_waker(&mut self, waker: Arc<dyn Fn() + Send + Sync>) {
        self.shared.set_waker(waker);
    }

    /// Called at the moments that [`LogEvent`] names, from the writer; it must not wait.
    pub fn set_observer(&mut self, observer: Box<dyn Fn(LogEvent) + Send>) {
        self.observer = observer;
    }

    /// Whether a write or a sync failed. The process must end then.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn fail(&mut self, group: Vec<Queued>, error: &io::Error) {
        tracing::error!(%error, "the log cannot be written: this node must end");
        self.failed = true;
        let ending = Ending::after(error);
        let rest = self.shared.fail(ending.clone());
        for queued in group.into_iter().chain(rest) {
            queued.callback.call(Err(ending.to_error()));
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        if !self.failed {
            // Each callback is called with an error as it is dropped.
            drop(self.shared.fail(Ending::writer_gone()));
        }
    }
}

fn answer(queued: Queued) {
    queued.callback.call(match queued.operation {
        Operation::Refuse(error) => Err(error),
        _ => Ok(()),
    });
}

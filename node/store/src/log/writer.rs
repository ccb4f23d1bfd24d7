//! The one place that writes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::figures::LogEvent;
use super::group::{Group, Halt};
use super::journal::Journal;
use super::shared::{Ending, Operation, Queued, Shared};

/// Between two tries to find space.
const SPACE_PAUSE: Duration = Duration::from_millis(200);

/// The one place that writes. A thread runs [`LogWriter::run`]; the simulation drives
/// [`LogWriter::drain`]. Once it is dropped every operation fails.
pub struct LogWriter {
    shared: Arc<Shared>,
    journal: Journal,
    observer: Box<dyn Fn(LogEvent) + Send>,
    /// What stopped for want of space.
    waiting: Option<Group>,
    /// What was last said about space.
    full: bool,
    failed: bool,
}

impl LogWriter {
    pub(super) fn new(shared: Arc<Shared>, journal: Journal) -> Self {
        Self {
            shared,
            journal,
            observer: Box::new(|_| {}),
            waiting: None,
            full: false,
            failed: false,
        }
    }

    /// Writes and syncs all that is queued as one group (up to [`super::GROUP_BYTES_MAX`], then
    /// the rest waits for the next call), then calls the callbacks. False where nothing was
    /// queued, or where there is no space for it: [`Self::waits_for_space`] is true then, nothing
    /// of the group is answered, and the next call tries again.
    pub fn drain(&mut self) -> bool {
        let waiting = self.waiting.take();
        let mut group = waiting.unwrap_or_else(|| Group::new(self.shared.take_group()));
        if group.is_empty() {
            return false;
        }
        match self.journal.commit(&mut group, &self.observer) {
            Ok(()) => {
                self.note_space(None);
                self.finish(group);
                true
            }
            Err(Halt::Full(error)) => {
                self.note_space(Some(&error));
                self.waiting = Some(group);
                false
            }
            Err(Halt::Failed(error)) => {
                self.fail(group.queued, &error);
                true
            }
        }
    }

    /// Drains until the log is closed or fails, sleeping while nothing is queued. What waits for
    /// space when the log is closed fails.
    pub fn run(mut self) {
        if let Err(error) = self.journal.start_thread() {
            tracing::warn!(%error, "log segments are prepared by the writer itself, which is slower");
        }
        while !self.failed && self.wait() {
            self.drain();
        }
        self.journal.stop_thread();
    }

    /// Whether what is queued waits for space on the disk. Nobody wakes a driver without a thread
    /// when there is some: it tries again after a while.
    #[must_use]
    pub fn waits_for_space(&self) -> bool {
        self.waiting.is_some()
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

    fn wait(&self) -> bool {
        if self.waits_for_space() { self.shared.pause(SPACE_PAUSE) } else { self.shared.wait() }
    }

    fn finish(&mut self, group: Group) {
        let oldest = self.shared.settle(&group.queued, group.committed);
        let operations = group.queued.len();
        group.queued.into_iter().for_each(answer);
        (self.observer)(LogEvent::GroupEnded { operations });
        self.journal.remove_before(oldest);
    }

    /// Logs once per change that space is missing, or is there again.
    fn note_space(&mut self, missing: Option<&io::Error>) {
        if self.full == missing.is_some() {
            return;
        }
        self.full = missing.is_some();
        self.shared.set_full(self.full);
        match missing {
            Some(error) => tracing::error!(
                %error,
                "the log waits for disk space and nothing is acknowledged meanwhile: free some, or raise storage.raft.data_bytes_max"
            ),
            None => tracing::info!("the log has disk space again and goes on"),
        }
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

//! Power that fails at a chosen moment.
//!
//! A fault arms a moment; the first disk operation of that kind, on whatever machine, ends every
//! process at once, before or right after it took effect. Whoever armed it then cuts the power of
//! the machines, so that their disks lose what was not durable.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What a machine is doing to its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// Entries are written, synced, or the mark after them is.
    Append,
    /// A vote is.
    Vote,
    /// The end of the log is dropped.
    Truncate,
    /// The beginning of the log is dropped, or the segments that held it.
    Purge,
    /// The log's next segment is prepared or takes over.
    SegmentRoll,
    /// A snapshot is written under its temporary name.
    SnapshotWrite,
    /// A snapshot gets its name, or older ones go.
    SnapshotRename,
    /// Applied entries move into the engine.
    EngineFlush,
    /// The small files that say who a node is and what it saw.
    SmallFile,
    /// A node that starts reads its disk and repairs its end.
    Start,
}

impl Moment {
    pub(crate) const ALL: [Self; 10] = [
        Self::Append,
        Self::Vote,
        Self::Truncate,
        Self::Purge,
        Self::SegmentRoll,
        Self::SnapshotWrite,
        Self::SnapshotRename,
        Self::EngineFlush,
        Self::SmallFile,
        Self::Start,
    ];
}

/// A cut that waits for its moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) moment: Moment,
    /// Operations of that kind that pass before.
    pub(crate) passing: u64,
    /// Whether the operation itself still takes effect.
    pub(crate) after: bool,
}

/// The power of all machines.
#[derive(Default)]
pub(crate) struct Power {
    inner: Mutex<Inner>,
    failed: Notify,
}

#[derive(Default)]
struct Inner {
    armed: Option<Cut>,
    failed: Option<Moment>,
}

impl Power {
    /// Arms a cut in place of any other.
    pub(crate) fn arm(&self, cut: Cut) {
        *self.lock() = Inner { armed: Some(cut), failed: None };
    }

    /// Takes the cut away; says at which moment the power failed, if it did.
    pub(crate) fn disarm(&self) -> Option<Moment> {
        std::mem::take(&mut *self.lock()).failed
    }

    /// Completes once the power failed.
    pub(crate) async fn failed(&self) {
        while self.lock().failed.is_none() {
            self.failed.notified().await;
        }
    }

    /// An operation of one of these kinds begins. Where the power fails now: whether the operation
    /// still takes effect, and the moment.
    pub(super) fn reaches(&self, moments: &[Moment]) -> Option<Cut> {
        let mut inner = self.lock();
        let cut = inner.armed.as_mut().filter(|cut| moments.contains(&cut.moment))?;
        if cut.passing > 0 {
            cut.passing -= 1;
            return None;
        }
        let cut = *cut;
        *inner = Inner { armed: None, failed: Some(cut.moment) };
        drop(inner);
        self.failed.notify_one();
        Some(cut)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_fails_once_at_the_operation_that_was_chosen() {
        let power = Power::default();
        power.arm(Cut { moment: Moment::Vote, passing: 1, after: true });
        assert!(power.reaches(&[Moment::Append]).is_none());
        assert!(power.reaches(&[Moment::Append, Moment::Vote]).is_none());
        assert!(power.reaches(&[Moment::Vote]).is_some_and(|cut| cut.after));
        assert!(power.reaches(&[Moment::Vote]).is_none());
        assert_eq!(power.disarm(), Some(Moment::Vote));
        assert_eq!(power.disarm(), None);
    }
}

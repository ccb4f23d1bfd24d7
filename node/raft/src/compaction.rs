//! When a snapshot is built, and how far the log is cut behind it.
//!
//! openraft would build one after so many entries and cut the log at once. A large state would be
//! written anew every few seconds then, and a receiver of a snapshot would find the log cut before
//! it is done ([`crate::holds`]). So this task decides both, and openraft does what it is asked:
//! it never cuts what no stored snapshot holds.

use std::sync::Arc;

use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;

use crate::holds::Look;
use crate::node::Node;
use crate::{Readiness, blocking};

/// A snapshot up to this size is written in an instant.
const SMALL_SNAPSHOT_BYTES: u64 = 16 * 1024 * 1024;
/// The log may hold this many times the configured entries since the last snapshot, where they are
/// small beside a large one. More would make a restart long.
const ENTRIES_FACTOR_MAX: u64 = 16;
/// With so many committed entries still to apply a node lags: a second of a busy cluster.
const LAGGING_ENTRIES: u64 = 1_024;
/// A large snapshot that is put off waits for this many times as much log, and no longer.
const PUT_OFF_FACTOR: u64 = 4;

/// Runs until the node stops.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let mut pace = Pace { every: node.config.snapshot_entries, ..Pace::default() };
    let mut asked = None;
    while !node.flags.stopping() {
        node.pause(node.config.heartbeat).await;
        build_where_due(&node, &mut pace).await;
        cut(&node, &mut asked).await;
    }
}

async fn build_where_due<R: AsyncRuntime>(node: &Node<R>, pace: &mut Pace) {
    let snapshot = node.metrics.borrow_watched().snapshot.map(|id| id.index);
    let written = node.log.figures().bytes;
    if snapshot != pace.last {
        pace.stored(snapshot, newest_bytes(node).await, written);
    }
    let put_off = lags(node) || node.holds.are_any();
    // While a restore is staged none can be built.
    if pace.is_due(node.applied.get(), written, put_off) && !node.state.is_restoring() {
        pace.asked.get_or_insert(written);
        // Without effect while one is being built. A Raft that has ended is noticed elsewhere.
        drop(node.raft.trigger().snapshot().await);
    }
}

/// Whether the cluster is far ahead of this node, by what its leader says.
fn lags<R: AsyncRuntime>(node: &Node<R>) -> bool {
    let committed = node.metrics.borrow_watched().cluster_committed.map_or(0, |id| id.index);
    committed.saturating_sub(node.applied.get()) > LAGGING_ENTRIES
}

async fn newest_bytes<R: AsyncRuntime>(node: &Node<R>) -> u64 {
    let snapshots = node.snapshots.clone();
    let newest = blocking::run::<R, _>(move || snapshots.latest()).await;
    // Whoever reads it reports what is wrong with it.
    let reader = newest.ok().and_then(Result::ok).flatten();
    reader.and_then(|reader| reader.file_bytes().ok()).unwrap_or(0)
}

/// `asked`: the last entry that openraft was asked to cut; it may do so later.
async fn cut<R: AsyncRuntime>(node: &Node<R>, asked: &mut Option<u64>) {
    let Some(through) = cut_through(node) else { return };
    if asked.is_none_or(|before| before < through) {
        *asked = Some(through);
        // As above.
        drop(node.raft.trigger().purge_log(through).await);
    }
}

/// The last entry that nobody needs any more.
fn cut_through<R: AsyncRuntime>(node: &Node<R>) -> Option<u64> {
    let metrics = node.metrics.borrow_watched();
    let through = metrics.snapshot?.index.checked_sub(node.config.keep_entries)?;
    let followers = metrics.replication.as_ref();
    let matched =
        followers.map(|all| move |id| all.get(&id).map(|matched| matched.map(|id| id.index)));
    let held = node.holds.cut_through(&Look {
        now: node.ports.clock.monotonic(),
        written: node.log.figures().bytes,
        full: node.flags.readiness() == Readiness::Full,
        through,
        matched: matched.as_ref().map(|matched| matched as &dyn Fn(u64) -> Option<Option<u64>>),
    });
    let through = held.map_or(through, |held| through.min(held));
    metrics.purged.is_none_or(|purged| purged.index < through).then_some(through)
}

/// Weighs the work of a snapshot against the length of the log.
#[derive(Debug, Default)]
struct Pace {
    /// Entries between two snapshots, at least.
    every: u64,
    /// The last snapshot's last entry.
    last: Option<u64>,
    last_bytes: u64,
    /// What the log had written when that snapshot was asked for.
    written_before: u64,
    /// The same, for one that is being built.
    asked: Option<u64>,
}

impl Pace {
    fn stored(&mut self, last: Option<u64>, bytes: u64, written: u64) {
        (self.last, self.last_bytes) = (last, bytes);
        self.written_before = self.asked.take().unwrap_or(written);
    }

    fn is_due(&self, applied: u64, written: u64, put_off: bool) -> bool {
        let entries = applied.saturating_sub(self.last.unwrap_or(0));
        if self.last_bytes <= SMALL_SNAPSHOT_BYTES {
            return entries >= self.every;
        }
        let factor = if put_off { PUT_OFF_FACTOR } else { 1 };
        let log_bytes = written.saturating_sub(self.written_before);
        let worth_it = log_bytes >= (self.last_bytes / 2).saturating_mul(factor);
        let entries_max = self.every.saturating_mul(ENTRIES_FACTOR_MAX * factor);
        entries >= self.every && (worth_it || entries >= entries_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_snapshots_are_built_by_entries() {
        let mut pace = Pace { every: 100, ..Pace::default() };
        assert!(!pace.is_due(99, 0, false));
        assert!(pace.is_due(100, 0, false));
        pace.stored(Some(100), SMALL_SNAPSHOT_BYTES, 5_000);
        assert!(!pace.is_due(199, 5_000, false));
        assert!(pace.is_due(200, 5_000, false));
    }

    #[test]
    fn large_snapshots_wait_for_half_their_bytes_or_many_entries() {
        let bytes = 2 * SMALL_SNAPSHOT_BYTES;
        let mut pace = Pace { every: 100, ..Pace::default() };
        pace.stored(Some(100), bytes, 7);
        assert!(!pace.is_due(1_699, 7 + bytes / 2 - 1, false));
        assert!(pace.is_due(200, 7 + bytes / 2, false));
        assert!(pace.is_due(1_700, 7, false), "a restart must not take long");
        assert!(!pace.is_due(199, 7 + 9 * bytes, false), "few entries are few, however large");
    }

    #[test]
    fn what_was_written_while_a_snapshot_was_built_counts_for_the_next() {
        let bytes = 2 * SMALL_SNAPSHOT_BYTES;
        let mut pace = Pace { every: 100, asked: Some(1_000), ..Pace::default() };
        pace.stored(Some(100), bytes, 1_000 + bytes / 2);
        assert!(pace.is_due(200, 1_000 + bytes / 2, false));
    }

    #[test]
    fn a_large_snapshot_is_put_off_for_a_while_and_a_small_one_never() {
        let mut pace = Pace { every: 100, ..Pace::default() };
        pace.stored(Some(100), SMALL_SNAPSHOT_BYTES, 0);
        assert!(pace.is_due(200, 0, true), "it is written in an instant");
        let bytes = 2 * SMALL_SNAPSHOT_BYTES;
        pace.stored(Some(100), bytes, 7);
        assert!(!pace.is_due(200, 7 + 2 * bytes - 1, true));
        assert!(pace.is_due(200, 7 + 2 * bytes, true), "the log would grow without bound");
        assert!(!pace.is_due(6_499, 7, true));
        assert!(pace.is_due(6_500, 7, true), "a restart must not take for ever");
    }
}

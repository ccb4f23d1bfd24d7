//! Is the disk fast enough to lead?
//!
//! A leader whose disk hangs or drags goes on leading: its heartbeats need no disk, and its
//! followers' disks make the quorum. But all that waits for this one disk is late, and should a
//! follower fail, everything is. So this task watches how long what was appended waits to be on
//! disk. The node itself decides nothing here: see [`crate::caretaker`].

use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;

use crate::RaftConfig;
use crate::node::Node;

/// Looks at the log for each heartbeat.
const SAMPLES_PER_HEARTBEAT: u32 = 4;
/// Slow syncs in a row after which a disk counts as slow; one may be an accident.
const SLOW_SYNCS: u32 = 3;
/// A disk that was slow is trusted again after this many election timeouts without a slow sync.
/// Long, so that two slow nodes do not hand leadership to and fro.
const TRUST_ELECTIONS: u32 = 20;

/// Runs until the node stops.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let mut watch = DiskWatch::new(&node.config);
    while !node.flags.stopping() {
        node.pause(node.config.heartbeat / SAMPLES_PER_HEARTBEAT).await;
        let log = node.log.progress();
        let slow = watch.sample(node.ports.clock.monotonic(), log.asked, log.answered);
        if node.flags.set_slow_disk(slow) {
            if slow {
                let waiting = log.asked - log.answered;
                tracing::warn!(waiting, log.full, "the disk is too slow for this node to lead");
            } else {
                tracing::info!("the disk is fast enough again for this node to lead");
            }
            node.note_fitness();
        }
    }
}

/// Judges a disk by how long entries wait for it.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    /// A sync that takes longer is slow.
    slow_above: Duration,
    /// One that takes longer may never end.
    hung_above: Duration,
    trust_after: Duration,
    /// Samples further apart say that this task did not run, and nothing about the disk.
    gap_max: Duration,
    sampled_at: Option<Duration>,
    /// An operation that is not on disk, and since when.
    waiting: Option<(u64, Duration)>,
    slow_in_a_row: u32,
    /// Since the last slow sync, where the disk counts as slow.
    slow_since: Option<Duration>,
}

impl DiskWatch {
    pub(crate) fn new(config: &RaftConfig) -> Self {
        Self {
            slow_above: config.heartbeat * 3 / 2,
            hung_above: config.election_timeout_max,
            trust_after: config.election_timeout_max * TRUST_ELECTIONS,
            gap_max: config.heartbeat,
            sampled_at: None,
            waiting: None,
            slow_in_a_row: 0,
            slow_since: None,
        }
    }

    /// Whether the disk is too slow, with what was asked of the log so far and what it answered.
    pub(crate) fn sample(&mut self, now: Duration, asked: u64, answered: u64) -> bool {
        let blind = self.sampled_at.is_some_and(|at| now.saturating_sub(at) > self.gap_max);
        self.sampled_at = Some(now);
        if blind {
            self.waiting = None;
        }
        if let Some((operation, since)) = self.waiting {
            let took = now.saturating_sub(since);
            if answered >= operation {
                self.settle(took, now);
                self.waiting = None;
            } else if took > self.hung_above {
                self.slow_in_a_row = SLOW_SYNCS;
                self.slow_since = Some(now);
            }
        }
        if self.waiting.is_none() && asked > answered {
            self.waiting = Some((asked, now));
        }
        if self.slow_since.is_some_and(|since| now.saturating_sub(since) > self.trust_after) {
            self.slow_since = None;
        }
        self.slow_since.is_some()
    }

    /// A sync has ended.
    fn settle(&mut self, took: Duration, now: Duration) {
        if took <= self.slow_above {
            self.slow_in_a_row = 0;
            return;
        }
        self.slow_in_a_row += 1;
        if self.slow_in_a_row >= SLOW_SYNCS {
            self.slow_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(25);

    fn watch() -> DiskWatch {
        DiskWatch {
            slow_above: STEP * 6,
            hung_above: STEP * 32,
            trust_after: STEP * 640,
            gap_max: STEP * 4,
            sampled_at: None,
            waiting: None,
            slow_in_a_row: 0,
            slow_since: None,
        }
    }

    /// Samples a disk whose syncs take `sync` steps, with an entry appended at each step; the
    /// first step at which it counts as slow.
    fn first_slow(sync: u32, steps: u32) -> Option<u32> {
        let mut watch = watch();
        (0..steps).find(|step| {
            let synced = step / sync * sync;
            watch.sample(STEP * *step, u64::from(*step), u64::from(synced))
        })
    }

    #[test]
    fn a_fast_disk_is_never_slow() {
        assert_eq!(first_slow(1, 10_000), None);
        assert_eq!(first_slow(3, 10_000), None);
    }

    #[test]
    fn a_disk_that_is_slow_again_and_again_is_found() {
        let step = first_slow(8, 10_000).expect("200 ms are slow");
        assert!((17..=64).contains(&step), "after {step} steps");
    }

    #[test]
    fn one_slow_sync_is_an_accident() {
        let mut watch = watch();
        assert!(!watch.sample(Duration::ZERO, 1, 0));
        for step in 1..30 {
            assert!(!watch.sample(STEP * step, 1, 0));
        }
        assert!(!watch.sample(STEP * 30, 1, 1));
    }

    #[test]
    fn a_hung_sync_is_found_after_one_election_timeout_and_trusted_again_much_later() {
        let mut watch = watch();
        let slow = (0..100).find(|step| watch.sample(STEP * *step, 1, 0));
        assert_eq!(slow, Some(33));
        let again = (34..10_000).find(|step| !watch.sample(STEP * *step, 1, 1));
        assert_eq!(again, Some(34 + 641));
    }

    #[test]
    fn a_hung_sync_stays_slow_for_as_long_as_it_hangs() {
        let mut watch = watch();
        assert!((0..5_000).map(|step| watch.sample(STEP * step, 1, 0)).last() == Some(true));
    }

    #[test]
    fn a_machine_that_slept_says_nothing_about_its_disk() {
        let mut watch = watch();
        assert!(!watch.sample(Duration::ZERO, 1, 0));
        assert!(!watch.sample(Duration::from_secs(3_600), 1, 0));
        assert!(!watch.sample(Duration::from_secs(3_600) + STEP, 1, 1));
    }
}

//! Stamped time runs as clocks do.
//!
//! Once the cluster knows the time, no stamp is ahead of it: it is at most as far from the true time
//! as it was when it became known. Only where a majority of the voters has heard no time since they
//! started may it become known anew, and then from a majority of wall clocks that agree.

use std::time::Duration;

use super::{Checked, holds};

const INVARIANT: &str = "stamped time runs as clocks do";
/// A stamp is seen so long after it was made, more or less: its entry had to be committed first.
const DRIFT_MS_MAX: i64 = 2_000;
/// The first stamps of a time that became known may be seen later than that, all of them.
const FIRST_STAMPS: u32 = 20;
/// Wall clocks that differ by more do not agree.
const SPREAD_MS_MAX: i64 = 5_000;
/// Somebody applied an entry up to so long before it was seen here.
const SEEN_LATE_MAX: Duration = Duration::from_secs(1);

/// The stamps that were seen so far.
#[derive(Default)]
pub(crate) struct ClusterTime {
    newest_ms: i64,
    /// Beyond the true time, at most.
    ahead_ms: Option<i64>,
    /// As much it may be, as long as few stamps were seen since the time became known.
    most_ms: i64,
    stamps: u32,
    seen_at: Duration,
}

impl ClusterTime {
    /// Some node has applied an entry with this stamp. `forgotten` says, for a moment, whether a
    /// majority may have heard no time since, and how far ahead the clocks are that it would agree
    /// on.
    pub(crate) fn stamped(
        &mut self,
        (stamped_ms, true_ms): (i64, i64),
        now: Duration,
        forgotten: impl FnOnce(Duration) -> Option<i64>,
    ) -> Checked {
        if stamped_ms <= self.newest_ms {
            return Ok(());
        }
        let ahead_ms = stamped_ms - true_ms;
        let early = self.stamps < FIRST_STAMPS && ahead_ms <= self.most_ms;
        if early || self.ahead_ms.is_some_and(|known| ahead_ms <= known + DRIFT_MS_MAX) {
            self.ahead_ms = self.ahead_ms.max(Some(ahead_ms));
            self.stamps += 1;
        } else {
            let agreed = forgotten(self.seen_at.saturating_sub(SEEN_LATE_MAX));
            let may_be = agreed.map(|ahead| ahead + SPREAD_MS_MAX + DRIFT_MS_MAX);
            let first = self.ahead_ms.is_none().then_some(SPREAD_MS_MAX);
            let most = may_be.or(first);
            holds(most.is_some_and(|most| ahead_ms <= most), INVARIANT, || {
                let before = self.ahead_ms;
                format!("a stamp is ahead by {ahead_ms} ms, {before:?} before, {agreed:?} agreed")
            })?;
            self.ahead_ms = Some(ahead_ms);
            self.most_ms = most.unwrap_or(ahead_ms);
            self.stamps = 0;
        }
        self.newest_ms = stamped_ms;
        self.seen_at = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(9);

    #[test]
    fn a_clock_that_moves_the_cluster_is_found() {
        let mut time = ClusterTime::default();
        time.stamped((1_000, 1_000), NOW, |_| None).unwrap();
        time.stamped((1_900, 2_000), NOW, |_| None).unwrap();
        for second in 3..30 {
            time.stamped((second * 1_000, second * 1_000), NOW, |_| None).unwrap();
        }
        let error = time.stamped((33_000, 30_000), NOW, |_| None).unwrap_err();
        assert_eq!(error.invariant, INVARIANT);
    }

    #[test]
    fn a_cluster_that_forgot_takes_what_a_majority_shows() {
        let mut time = ClusterTime::default();
        time.stamped((1_000, 1_000), NOW, |_| None).unwrap();
        time.stamped((62_000, 2_000), NOW, |_| Some(60_000)).unwrap();
        time.stamped((70_000, 10_000), NOW, |_| None).unwrap();
        assert!(time.stamped((200_000, 11_000), NOW, |_| Some(60_000)).is_err());
    }
}

//! Entries that the receivers of snapshots will ask for next.
//!
//! A snapshot may take minutes to arrive. Meanwhile a busy leader stores newer ones and cuts its
//! log behind them; a receiver that finds the entries after its snapshot gone needs another
//! snapshot, and so on for ever. So what follows a snapshot under way is held until its receiver
//! has caught up.
//!
//! That is bounded: a receiver that is gone or makes no progress is given up, and so is one that
//! falls ever further behind, and all of them where the disk fills. It gets another snapshot then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A receiver that has its snapshot, or whose transfer broke, and whose log then stands still for
/// this long, is given up.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);
/// So many times a snapshot's bytes may be written to the log while it is sent: at that pace the
/// receiver never catches up.
const HELD_SNAPSHOTS_MAX: u64 = 4;
/// At least so many bytes may be, however small the snapshot is.
const HELD_BYTES_MIN: u64 = 512 * 1024 * 1024;

/// What is held, by receiver.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    all: Mutex<BTreeMap<u64, Hold>>,
}

/// A snapshot that begins its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    /// The last entry in it.
    pub(crate) last: u64,
    /// Its length.
    pub(crate) bytes: u64,
    /// Bytes that the log wrote so far, ever.
    pub(crate) written: u64,
}

#[derive(Debug)]
struct Hold {
    begun: Begun,
    /// Shared with the [`Sending`] that this hold is for: gone once that one has ended.
    under_way: std::sync::Weak<()>,
    /// The newest entry it was known to have, and since when, once the transfer has ended.
    stood: Option<(Option<u64>, Duration)>,
}

/// Held while a snapshot is on its way.
pub(crate) struct Sending {
    _under_way: Arc<()>,
}

/// A look at everything that decides how long entries are held.
pub(crate) struct Look<'a> {
    pub(crate) now: Duration,
    /// Bytes that the log wrote so far, ever.
    pub(crate) written: u64,
    /// No disk space is left to hold anything with.
    pub(crate) full: bool,
    /// What would be cut if nothing was held: up to and including this entry.
    pub(crate) through: u64,
    /// What a leader's followers are known to have; None elsewhere.
    pub(crate) matched: Option<&'a dyn Fn(u64) -> Option<Option<u64>>>,
}

impl Holds {
    /// A snapshot is being sent; it takes the place of the one before to the same node.
    pub(crate) fn begin(&self, node_id: u64, begun: Begun) -> Sending {
        let under_way = Arc::new(());
        let hold = Hold { begun, under_way: Arc::downgrade(&under_way), stood: None };
        self.all().insert(node_id, hold);
        Sending { _under_way: under_way }
    }

    /// The last entry that may be cut; all where None.
    pub(crate) fn cut_through(&self, look: &Look<'_>) -> Option<u64> {
        let mut all = self.all();
        all.retain(|node_id, hold| hold.stands(*node_id, look));
        all.values().map(|hold| hold.begun.last).min()
    }

    /// Whether anything was held when it was looked at last, or has begun since.
    pub(crate) fn are_any(&self) -> bool {
        !self.all().is_empty()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Hold>> {
        // Each entry is written at once.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    fn stands(&mut self, node_id: u64, look: &Look<'_>) -> bool {
        let bytes_max = self.begun.bytes.saturating_mul(HELD_SNAPSHOTS_MAX).max(HELD_BYTES_MIN);
        if look.full || look.written.saturating_sub(self.begun.written) > bytes_max {
            tracing::warn!(node_id, "what follows a snapshot under way is no longer held");
            return false;
        }
        if self.under_way.strong_count() > 0 {
            return true;
        }
        // Only a leader knows of a member what it has.
        let Some(matched) = look.matched.and_then(|matched| matched(node_id)) else { return false };
        if matched.is_some_and(|index| index >= look.through) {
            return false;
        }
        match self.stood {
            Some((before, since)) if before == matched => look.now - since <= STANDSTILL_MAX,
            _ => {
                self.stood = Some((matched, look.now));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: Begun = Begun { last: 100, bytes: 1_000, written: 50 };

    fn cut(holds: &Holds, seconds: u64, matched: Option<Option<u64>>) -> Option<u64> {
        let matched = move |_| matched;
        holds.cut_through(&Look {
            now: Duration::from_secs(seconds),
            written: 50,
            full: false,
            through: 400,
            matched: Some(&matched),
        })
    }

    #[test]
    fn what_follows_is_held_until_the_receiver_has_caught_up() {
        let holds = Holds::default();
        assert_eq!(cut(&holds, 0, Some(None)), None);
        let sending = holds.begin(4, BEGUN);
        assert_eq!(cut(&holds, 0, Some(None)), Some(100));
        assert_eq!(cut(&holds, 10_000, Some(None)), Some(100), "while it is on its way");
        drop(sending);
        assert_eq!(cut(&holds, 10_001, Some(Some(100))), Some(100));
        assert_eq!(cut(&holds, 10_050, Some(Some(250))), Some(100));
        assert_eq!(cut(&holds, 10_109, Some(Some(399))), Some(100));
        assert!(holds.are_any());
        assert_eq!(cut(&holds, 10_110, Some(Some(400))), None);
        assert!(!holds.are_any());
    }

    #[test]
    fn a_receiver_that_is_gone_or_stands_still_is_given_up() {
        let holds = Holds::default();
        drop(holds.begin(4, BEGUN));
        assert_eq!(cut(&holds, 0, None), None, "it is no member any more");
        drop(holds.begin(4, BEGUN));
        assert_eq!(cut(&holds, 1, Some(Some(100))), Some(100));
        assert_eq!(cut(&holds, 61, Some(Some(100))), Some(100));
        assert_eq!(cut(&holds, 62, Some(Some(100))), None);
    }

    #[test]
    fn a_deposed_leader_holds_only_what_is_on_its_way() {
        let holds = Holds::default();
        let look =
            Look { now: Duration::ZERO, written: 50, full: false, through: 400, matched: None };
        let sending = holds.begin(4, BEGUN);
        assert_eq!(holds.cut_through(&look), Some(100));
        drop(sending);
        assert_eq!(holds.cut_through(&look), None);
    }

    #[test]
    fn the_next_try_holds_what_follows_its_own_snapshot() {
        let holds = Holds::default();
        let first = holds.begin(4, BEGUN);
        let second = holds.begin(4, Begun { last: 300, ..BEGUN });
        drop(first);
        assert_eq!(cut(&holds, 0, None), Some(300));
        let _other = holds.begin(5, Begun { last: 200, ..BEGUN });
        assert_eq!(cut(&holds, 0, None), Some(200), "the least of all");
        drop(second);
    }

    #[test]
    fn a_log_that_grows_without_bound_or_fills_the_disk_is_not_held() {
        let look = |written, full| Look {
            now: Duration::ZERO,
            written,
            full,
            through: 400,
            matched: None,
        };
        let holds = Holds::default();
        let _sending = holds.begin(4, BEGUN);
        assert_eq!(holds.cut_through(&look(50 + HELD_BYTES_MIN, false)), Some(100));
        assert_eq!(holds.cut_through(&look(51 + HELD_BYTES_MIN, false)), None);
        let _large = holds.begin(4, Begun { bytes: HELD_BYTES_MIN, ..BEGUN });
        assert_eq!(holds.cut_through(&look(50 + 4 * HELD_BYTES_MIN, false)), Some(100));
        assert_eq!(holds.cut_through(&look(50, true)), None);
    }
}

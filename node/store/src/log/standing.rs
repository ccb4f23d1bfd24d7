//! What a journal amounts to: the ends of the log and the vote, without the entries.

use prost::Message;

use super::LogState;
use crate::v1::{LogId, Vote};

/// One step of the journal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Entry(LogId),
    Truncate(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
}

/// The sum of all steps so far. Each segment begins with it, so that older ones can go.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Standing {
    /// The newest entry that was purged.
    #[prost(message, optional, tag = "1")]
    pub(super) purged: Option<LogId>,
    /// The newest entry; equals `purged` where there is none.
    #[prost(message, optional, tag = "2")]
    pub(super) last: Option<LogId>,
    /// The index of the oldest entry, None where there is none.
    #[prost(uint64, optional, tag = "3")]
    pub(super) first_index: Option<u64>,
    #[prost(message, optional, tag = "4")]
    pub(super) vote: Option<Vote>,
}

impl Standing {
    pub(super) fn state(&self) -> LogState {
        LogState { purged: self.purged, last: self.last }
    }

    /// Whether an entry with this index may come next. A log that is empty and was never purged
    /// takes any but the highest, which no range could hold.
    pub(super) fn accepts(&self, index: u64) -> bool {
        index < u64::MAX && self.last.is_none_or(|last| last.index.checked_add(1) == Some(index))
    }

    pub(super) fn apply(&mut self, step: &Step) {
        match step {
            Step::Entry(id) => {
                self.first_index.get_or_insert(id.index);
                self.last = Some(*id);
            }
            Step::Truncate(last) => self.truncate(*last),
            Step::Purge(through) => self.purge(*through),
            Step::Vote(vote) => self.vote = Some(*vote),
        }
    }

    /// The indexes of the entries.
    pub(super) fn range(&self) -> std::ops::Range<u64> {
        match (self.first_index, self.last) {
            (Some(first), Some(last)) => first..last.index.saturating_add(1),
            _ => 0..0,
        }
    }

    /// The index that follows the newest entry.
    pub(super) fn next_index(&self) -> u64 {
        index(self.last).unwrap_or(0)
    }

    /// The lowest index that is not purged.
    pub(super) fn first_kept(&self) -> u64 {
        index(self.purged).unwrap_or(0)
    }

    fn truncate(&mut self, last: Option<LogId>) {
        let kept = later(last, self.purged);
        if index(kept) < index(self.last) {
            self.last = kept;
        }
        if self.first_index.map(|first| first.saturating_add(1)) > index(self.last) {
            self.first_index = None;
            self.last = self.purged;
        }
    }

    fn purge(&mut self, through: LogId) {
        self.purged = later(Some(through), self.purged);
        if index(self.last) <= index(self.purged) {
            self.last = self.purged;
            self.first_index = None;
        }
        let first_kept = self.first_kept();
        self.first_index = self.first_index.map(|first| first.max(first_kept));
    }
}

/// Number of entries up to and including `id`, counted from index 0; None is before index 0.
fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index.saturating_add(1))
}

fn later(left: Option<LogId>, right: Option<LogId>) -> Option<LogId> {
    if index(left) > index(right) { left } else { right }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> LogId {
        LogId { term: 1, leader_id: 1, index }
    }

    fn standing(steps: &[Step]) -> Standing {
        let mut standing = Standing::default();
        steps.iter().for_each(|step| standing.apply(step));
        standing
    }

    #[test]
    fn the_range_follows_every_step() {
        let mut steps = vec![Step::Entry(id(0)), Step::Entry(id(1)), Step::Entry(id(2))];
        assert_eq!(standing(&steps).range(), 0..3);
        steps.push(Step::Purge(id(0)));
        assert_eq!(standing(&steps).range(), 1..3);
        steps.push(Step::Truncate(Some(id(1))));
        assert_eq!(standing(&steps).range(), 1..2);
        steps.push(Step::Truncate(None));
        assert_eq!(standing(&steps).state(), LogState { purged: Some(id(0)), last: Some(id(0)) });
        assert_eq!(standing(&steps).range(), 0..0);
        assert!(standing(&steps).accepts(1) && !standing(&steps).accepts(0));
        steps.push(Step::Purge(id(9)));
        assert_eq!(standing(&steps).state(), LogState { purged: Some(id(9)), last: Some(id(9)) });
        assert!(standing(&steps).accepts(10));
    }

    #[test]
    fn a_truncation_of_everything_leaves_an_empty_log() {
        let empty = standing(&[Step::Entry(id(0)), Step::Truncate(None)]);
        assert_eq!(empty, Standing::default());
    }

    #[test]
    fn a_truncation_beyond_the_end_and_a_purge_backwards_change_nothing() {
        let before = standing(&[Step::Entry(id(5)), Step::Entry(id(6)), Step::Purge(id(5))]);
        let mut after = before;
        after.apply(&Step::Truncate(Some(id(8))));
        after.apply(&Step::Purge(id(3)));
        assert_eq!(after, before);
    }
}

//! The newest entry that is on disk and still wanted.

use std::collections::VecDeque;

use crate::v1::LogId;

/// What the newest answered operation left on disk, less what truncations that wait will drop: an
/// entry that is to be dropped must not stand for another one at its index.
pub(super) struct Synced {
    on_disk: Option<LogId>,
    /// The newest answered operation.
    ticket: u64,
    /// Truncations that wait and the newest entry after each. As bounded as the queue.
    cuts: VecDeque<(u64, Option<LogId>)>,
}

impl Synced {
    pub(super) fn new(on_disk: Option<LogId>) -> Self {
        Self { on_disk, ticket: 0, cuts: VecDeque::new() }
    }

    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }

    pub(super) fn last(&self) -> Option<LogId> {
        let cuts = self.cuts.iter().map(|(_, last)| *last);
        cuts.fold(
            self.on_disk,
            |lowest, last| if index(last) < index(lowest) { last } else { lowest },
        )
    }

    /// A truncation waits that leaves `last`.
    pub(super) fn cut(&mut self, ticket: u64, last: Option<LogId>) {
        self.cuts.push_back((ticket, last));
    }

    /// Everything up to the operation `ticket` is on disk.
    pub(super) fn settle(&mut self, ticket: u64, on_disk: Option<LogId>) {
        self.ticket = ticket;
        self.on_disk = on_disk;
        while self.cuts.pop_front_if(|(cut, _)| *cut <= ticket).is_some() {}
    }
}

fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

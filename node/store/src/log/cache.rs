//! The newest entries in memory: what replication reads, and what is not on disk yet.

use std::collections::VecDeque;
use std::ops::Range;

use super::format::RECORD_HEADER_BYTES;
use crate::v1::Entry;

/// Consecutive entries that end with the newest one.
#[derive(Default)]
pub(super) struct Cache {
    entries: VecDeque<Cached>,
    bytes: usize,
}

struct Cached {
    entry: Entry,
    index: u64,
    bytes: usize,
    /// The operation that brought it.
    ticket: u64,
}

impl Cache {
    pub(super) fn push(&mut self, entry: Entry, index: u64, bytes: usize, ticket: u64) {
        self.bytes += bytes;
        self.entries.push_back(Cached { entry, index, bytes, ticket });
    }

    pub(super) fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|cached| cached.index)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops entries from index `from` on.
    pub(super) fn truncate(&mut self, from: u64) {
        while let Some(last) = self.entries.pop_back_if(|cached| cached.index >= from) {
            self.bytes -= last.bytes;
        }
    }

    /// Drops entries below index `below`.
    pub(super) fn purge(&mut self, below: u64) {
        while let Some(first) = self.entries.pop_front_if(|cached| cached.index < below) {
            self.bytes -= first.bytes;
        }
    }

    /// Drops the oldest entries above `bytes_max`, but none that an operation after `written`
    /// brought: those are nowhere else yet.
    pub(super) fn evict(&mut self, bytes_max: usize, written: u64) {
        while self.bytes > bytes_max {
            let Some(first) = self.entries.pop_front_if(|cached| cached.ticket <= written) else {
                return;
            };
            self.bytes -= first.bytes;
        }
    }

    /// Entries of `range`, which begins inside the cache, until `bytes_max` is used; with
    /// `at_least_one`, not none.
    pub(super) fn read(
        &self,
        range: Range<u64>,
        mut bytes_max: usize,
        at_least_one: bool,
    ) -> Vec<Entry> {
        let mut found = Vec::new();
        let skip = self.first_index().and_then(|first| range.start.checked_sub(first));
        let Some(skip) = skip.and_then(|skip| usize::try_from(skip).ok()) else { return found };
        for cached in self.entries.iter().skip(skip).take_while(|cached| cached.index < range.end) {
            if cached.bytes > bytes_max && !(at_least_one && found.is_empty()) {
                break;
            }
            bytes_max = bytes_max.saturating_sub(cached.bytes);
            found.push(cached.entry.clone());
        }
        found
    }
}

/// What an entry counts for: its record on disk.
pub(super) fn weight(encoded: usize) -> usize {
    encoded + RECORD_HEADER_BYTES
}

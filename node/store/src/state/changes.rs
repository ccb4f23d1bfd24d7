//! What one entry changes, gathered before any of it shows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::Range;

use bytes::Bytes;

use super::hash::SetHash;
use super::record::Record;
use super::shared::Shared;
use super::types::StateError;

/// The records an entry has looked at, as they were and as it leaves them.
pub(crate) struct Changes<'a> {
    shared: &'a Shared,
    revision: u64,
    records: BTreeMap<Bytes, Change>,
}

pub(crate) struct Change {
    pub(crate) before: Option<Record>,
    pub(crate) after: Option<Record>,
    /// Whether the entry wrote it; a record that was only looked at is not a change.
    written: bool,
}

impl<'a> Changes<'a> {
    /// **Only in the applier's turn.**
    pub(crate) fn new(shared: &'a Shared, revision: u64) -> Self {
        Self { shared, revision, records: BTreeMap::new() }
    }

    /// The index of the entry.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// A record with what this entry changed so far.
    pub(crate) fn get(&mut self, key: &Bytes) -> Result<Option<&Record>, StateError> {
        Ok(self.slot(key)?.after.as_ref())
    }

    /// Writes a record at this entry's revision; true where it was absent.
    pub(crate) fn put(&mut self, key: &Bytes, value: Bytes) -> Result<bool, StateError> {
        let record = Record { revision: self.revision, value };
        let change = self.slot(key)?;
        change.written = true;
        Ok(change.after.replace(record).is_none())
    }

    /// Deletes a record; true where it was present.
    pub(crate) fn delete(&mut self, key: &Bytes) -> Result<bool, StateError> {
        let change = self.slot(key)?;
        change.written = true;
        Ok(change.after.take().is_some())
    }

    /// At most `limit` keys of a range as they stood **before** this entry, in order.
    pub(crate) fn scan(
        &self,
        range: &Range<Bytes>,
        limit: usize,
    ) -> Result<Vec<Bytes>, StateError> {
        let ticket = self.shared.read().newest();
        let mut keys = Vec::new();
        let mut from = Some(range.start.clone());
        while let Some(start) = from.filter(|_| keys.len() < limit) {
            let wanted = limit - keys.len();
            let page = self.shared.page_at(ticket, &start, &range.end, wanted.max(PAGE_MIN))?;
            keys.extend(page.found.into_iter().map(|(key, _)| key).take(wanted));
            from = page.next;
        }
        Ok(keys)
    }

    /// The changes in key order, with the hash and the number of records after them, and what
    /// they add to the sum of the records below `scrubbed`.
    pub(crate) fn finish(
        self,
        mut hash: SetHash,
        mut count: u64,
        scrubbed: Option<&Bytes>,
    ) -> Finished {
        let mut below = SetHash::default();
        let mut changed = Vec::with_capacity(self.records.len());
        for (key, change) in self.records {
            if !change.written || change.before == change.after {
                continue;
            }
            let is_below = scrubbed.is_some_and(|cursor| key < *cursor);
            if let Some(before) = &change.before {
                let term = SetHash::of(&key, before.revision, &before.value);
                hash.minus(&term);
                if is_below {
                    below.minus(&term);
                }
                count -= 1;
            }
            if let Some(after) = &change.after {
                let term = SetHash::of(&key, after.revision, &after.value);
                hash.plus(&term);
                if is_below {
                    below.plus(&term);
                }
                count += 1;
            }
            changed.push((key, change));
        }
        Finished { changed, hash, count, below }
    }

    fn slot(&mut self, key: &Bytes) -> Result<&mut Change, StateError> {
        match self.records.entry(key.clone()) {
            Slot::Occupied(slot) => Ok(slot.into_mut()),
            Slot::Vacant(slot) => {
                let before = self.shared.newest(key)?;
                let after = before.clone();
                Ok(slot.insert(Change { before, after, written: false }))
            }
        }
    }
}

/// What [`Changes::finish`] worked out.
pub(crate) struct Finished {
    pub(crate) changed: Vec<(Bytes, Change)>,
    pub(crate) hash: SetHash,
    pub(crate) count: u64,
    /// What the changes add to the sum of the records that a scrub has behind it.
    pub(crate) below: SetHash,
}

/// A scan for one key reads on over a few that were deleted.
const PAGE_MIN: usize = 16;

//! Listing: names decrypted, sorted, cut to what was asked for.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;

/// All sorted names kept, in bytes.
const LISTING_BYTES_MAX: usize = 16 << 20;
/// One directory may take a quarter; a larger one is streamed each time.
pub(crate) const DIRECTORY_BYTES_MAX: usize = LISTING_BYTES_MAX / 4;
/// What a name costs besides its letters: string header and allocation.
const NAME_OVERHEAD_BYTES: usize = 40;

/// Names of one directory's children.
#[derive(Debug, Default)]
pub struct Names {
    /// Sorted; directories end in `/`.
    pub names: Vec<String>,
    /// Whether there are names after the last one.
    pub more: bool,
}

/// What a name counts for in the bounds above.
pub(crate) fn name_bytes(name: &str) -> usize {
    name.len() + NAME_OVERHEAD_BYTES
}

/// Collects the `limit` smallest names after `after`, in memory for `limit` names.
pub(crate) struct Selection<'a> {
    after: Option<&'a str>,
    limit: usize,
    /// The largest on top.
    smallest: BinaryHeap<String>,
    more: bool,
}

impl<'a> Selection<'a> {
    pub(crate) fn new(after: Option<&'a str>, limit: usize) -> Self {
        Self { after, limit, smallest: BinaryHeap::new(), more: false }
    }

    /// Offers a name.
    pub(crate) fn push(&mut self, name: &str) {
        if self.after.is_some_and(|after| name <= after) {
            return;
        }
        if self.is_full_below(name) {
            self.more = true;
            return;
        }
        self.smallest.push(name.to_owned());
        if self.smallest.len() > self.limit {
            self.smallest.pop();
            self.more = true;
        }
    }

    /// Whether neither `name` nor any larger one can get in any more.
    pub(crate) fn is_full_below(&self, name: &str) -> bool {
        self.smallest.len() >= self.limit
            && self.smallest.peek().is_none_or(|largest| name >= largest.as_str())
    }

    /// Offers names that ascend, and stops at the first that cannot get in.
    pub(crate) fn push_sorted<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        for name in names {
            self.push(name);
            if self.more && self.is_full_below(name) {
                return;
            }
        }
    }

    pub(crate) fn finish(self) -> Names {
        Names { names: self.smallest.into_sorted_vec(), more: self.more }
    }
}

/// Sorted names of directories, by directory and its revision; the least recently used go first.
///
/// A revision names one set of children for ever, so an entry is never wrong, only old.
#[derive(Default)]
pub(crate) struct ListingCache {
    entries: BTreeMap<Vec<Bytes>, Entry>,
    /// When each entry was last used, oldest first.
    uses: BTreeMap<u64, Vec<Bytes>>,
    bytes: usize,
    ticks: u64,
}

struct Entry {
    revision: u64,
    names: Arc<Vec<String>>,
    bytes: usize,
    used: u64,
}

impl ListingCache {
    /// The directory's names at exactly this revision.
    pub(crate) fn get(&mut self, directory: &[Bytes], revision: u64) -> Option<Arc<Vec<String>>> {
        let entry = self.entries.get_mut(directory).filter(|entry| entry.revision == revision)?;
        self.ticks += 1;
        let uses = self.uses.remove(&entry.used)?;
        entry.used = self.ticks;
        self.uses.insert(self.ticks, uses);
        Some(Arc::clone(&entry.names))
    }

    /// Keeps a directory's names, unless newer ones are kept already.
    pub(crate) fn put(&mut self, directory: &[Bytes], revision: u64, names: Arc<Vec<String>>) {
        if self.entries.get(directory).is_some_and(|entry| entry.revision >= revision) {
            return;
        }
        self.remove(directory);
        let place: usize = directory.iter().map(Bytes::len).sum();
        let bytes = 2 * place + names.iter().map(|name| name_bytes(name)).sum::<usize>();
        self.ticks += 1;
        let entry = Entry { revision, names, bytes, used: self.ticks };
        self.uses.insert(self.ticks, directory.to_vec());
        self.entries.insert(directory.to_vec(), entry);
        self.bytes += bytes;
        while self.bytes > LISTING_BYTES_MAX
            && let Some((_, oldest)) = self.uses.pop_first()
        {
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, directory: &[Bytes]) {
        if let Some(entry) = self.entries.remove(directory) {
            self.bytes -= entry.bytes;
            self.uses.remove(&entry.used);
        }
    }
}

#[cfg(test)]
mod tests;

//! What open views still need of the past: before-images of records that changed since.
//!
//! While any view is open, every applied entry leaves what stood before each record it changed.
//! A view at revision `v` reads the before-image of the earliest change after `v`, where there is
//! one. Images that no open view can need are dropped with the last such view, and none is kept of
//! a change that no open view lies directly before, so that a long export costs one image per
//! changed record. Above the byte bound the oldest views expire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::overlay::{RECORD_OVERHEAD_BYTES, bounds};
use super::record::Record;

/// The before-images, and the views that keep them.
pub(crate) struct Undo {
    /// How many views are open at each revision.
    open: BTreeMap<u64, usize>,
    /// Views below this revision have expired.
    floor: u64,
    /// Per key, oldest change first.
    images: BTreeMap<Bytes, VecDeque<Image>>,
    /// Every image by its change, oldest first.
    order: BTreeSet<(u64, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

struct Image {
    /// The entry that replaced `before`.
    revision: u64,
    before: Option<Record>,
}

impl Undo {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            floor: 0,
            images: BTreeMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn register(&mut self, revision: u64) {
        *self.open.entry(revision).or_default() += 1;
    }

    pub(crate) fn release(&mut self, revision: u64) {
        if let Some(count) = self.open.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&revision);
                self.prune();
            }
        }
    }

    pub(crate) fn has_expired(&self, revision: u64) -> bool {
        revision < self.floor
    }

    /// Whether changes must be kept.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.open.is_empty()
    }

    /// Keeps what stood before the entry at `revision` changed it.
    pub(crate) fn keep<'a>(
        &mut self,
        revision: u64,
        before: impl Iterator<Item = (&'a Bytes, Option<&'a Record>)>,
    ) {
        for (key, before) in before {
            self.keep_one(revision, key, before);
        }
        while self.bytes > self.bytes_max && self.expire_oldest() {}
    }

    /// What a view at `revision` sees of a record that changed after it: outer none where it did
    /// not change, inner none where it was absent.
    pub(crate) fn before(&self, revision: u64, key: &[u8]) -> Option<&Option<Record>> {
        earliest_after(self.images.get(key)?, revision)
    }

    /// As [`Undo::before`], for every key from `from` to before `to`.
    pub(crate) fn range(
        &self,
        revision: u64,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&Bytes, &Option<Record>)> {
        self.images
            .range::<[u8], _>(bounds(from, to))
            .filter_map(move |(key, images)| Some((key, earliest_after(images, revision)?)))
    }

    fn keep_one(&mut self, revision: u64, key: &Bytes, before: Option<&Record>) {
        let images = self.images.entry(key.clone()).or_default();
        if let Some(last) = images.back() {
            let newest = self.open.last_key_value().map_or(0, |(newest, _)| *newest);
            if newest < last.revision {
                // Every open view reads an earlier image.
                return;
            }
            let second = images.len().checked_sub(2).map_or(0, |at| images[at].revision);
            if self.open.range(second..last.revision).next().is_none() {
                let last = images.pop_back().expect("it was seen");
                self.bytes -= cost(key, last.before.as_ref());
                self.order.remove(&(last.revision, key.clone()));
            }
        }
        self.bytes += cost(key, before);
        images.push_back(Image { revision, before: before.cloned() });
        self.order.insert((revision, key.clone()));
    }

    /// Expires the oldest views; false where none is open.
    fn expire_oldest(&mut self) -> bool {
        let Some((revision, _)) = self.open.pop_first() else { return false };
        self.floor = revision + 1;
        self.prune();
        true
    }

    /// Drops the images of changes that every open view has seen.
    fn prune(&mut self) {
        let oldest = self.open.keys().next().copied().unwrap_or(u64::MAX);
        while self.order.first().is_some_and(|(revision, _)| *revision <= oldest) {
            let (_, key) = self.order.pop_first().expect("the first was seen");
            self.forget_first(&key);
        }
    }

    fn forget_first(&mut self, key: &Bytes) {
        let images = self.images.get_mut(key).expect("every kept change has its image");
        let image = images.pop_front().expect("keys without images are removed");
        if images.is_empty() {
            self.images.remove(key);
        }
        self.bytes -= cost(key, image.before.as_ref());
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn earliest_after(images: &VecDeque<Image>, revision: u64) -> Option<&Option<Record>> {
    let at = images.partition_point(|image| image.revision <= revision);
    images.get(at).map(|image| &image.before)
}

fn cost(key: &Bytes, record: Option<&Record>) -> usize {
    key.len() + record.map_or(0, |record| record.value.len()) + RECORD_OVERHEAD_BYTES
}

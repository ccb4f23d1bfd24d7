//! What open views still need of the past: before-images of records that changed since.
//!
//! While any view is open, every applied entry leaves what stood before each record it changed.
//! A view at revision `v` reads the before-image of the earliest change after `v`, where there is
//! one. Images that no open view can need are dropped with the last such view, and none is kept of
//! a change that no open view lies directly before, so that a long export costs one image per
//! changed record. Above the byte bound the oldest views expire; but what a copy needs is moved to
//! the engine before, so that a copy comes to its end however much is written meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::overlay::{RECORD_OVERHEAD_BYTES, bounds};
use super::record::{Generation, Record};

/// The before-images, and the views that keep them.
pub(crate) struct Undo {
    /// How many views are open at each revision.
    open: BTreeMap<u64, usize>,
    /// Those of them that are copies, whose images may be moved to the engine.
    exports: BTreeMap<u64, Exported>,
    /// Views below this revision have expired.
    floor: u64,
    /// Per key, oldest change first.
    images: BTreeMap<Bytes, VecDeque<Image>>,
    /// Every image by its change, oldest first.
    order: BTreeSet<(u64, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

/// An image on its way to the engine: key, the entry that made it, what stood before.
pub(crate) type Spilled = (Bytes, u64, Option<Record>);

#[derive(Default)]
struct Exported {
    count: usize,
    slot: Option<Generation>,
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
            exports: BTreeMap::new(),
            floor: 0,
            images: BTreeMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn register(&mut self, revision: u64, exported: bool) {
        *self.open.entry(revision).or_default() += 1;
        if exported {
            self.exports.entry(revision).or_default().count += 1;
        }
    }

    pub(crate) fn release(&mut self, revision: u64, exported: bool) {
        if exported && let Some(export) = self.exports.get_mut(&revision) {
            export.count -= 1;
            if export.count == 0 {
                self.exports.remove(&revision);
            }
        }
        if let Some(count) = self.open.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&revision);
                self.prune(PRUNED_AT_ONCE);
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

    /// Keeps what stood before the entry at `revision` changed it. True where a copy expired.
    pub(crate) fn keep<'a>(
        &mut self,
        revision: u64,
        before: impl Iterator<Item = (&'a Bytes, Option<&'a Record>)>,
    ) -> bool {
        let mut kept = 0;
        for (key, before) in before {
            self.keep_one(revision, key, before);
            kept += 1;
        }
        // More than was added, so that what an ended view leaves behind becomes less.
        self.prune(PRUNED_AT_ONCE.max(2 * kept));
        let exports = self.exports.len();
        while self.bytes > self.bytes_max && !self.is_prunable() && self.expire_oldest() {}
        self.prune(PRUNED_AT_ONCE);
        self.exports.len() < exports
    }

    /// What a view at `revision` sees of a record that changed after it: outer none where it did
    /// not change, inner none where it was absent.
    pub(crate) fn before(&self, revision: u64, key: &[u8]) -> Option<&Option<Record>> {
        Some(&earliest_after(self.images.get(key)?, revision)?.before)
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
            .filter_map(move |(key, images)| Some((key, &earliest_after(images, revision)?.before)))
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
        self.exports.remove(&revision);
        self.floor = revision + 1;
        true
    }

    /// Drops some images of changes that every open view has seen; true where it dropped all that
    /// it may in one go. Applies wait meanwhile, so a long copy is not forgotten at once.
    pub(crate) fn prune_some(&mut self) -> bool {
        self.prune(PRUNED_AT_ONCE);
        self.is_prunable()
    }

    fn prune(&mut self, limit: usize) {
        for _ in 0..limit {
            if !self.is_prunable() {
                return;
            }
            let (_, key) = self.order.pop_first().expect("one can be dropped");
            self.forget_first(&key);
        }
    }

    fn is_prunable(&self) -> bool {
        let oldest = self.open.keys().next().copied().unwrap_or(u64::MAX);
        self.order.first().is_some_and(|(revision, _)| *revision <= oldest)
    }

    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes > self.bytes_max / 2
    }

    pub(crate) fn is_nearly_full(&self) -> bool {
        self.bytes > self.bytes_max / 4 * 3
    }

    /// The oldest open copy, and where its before-images have been moved to.
    pub(crate) fn export(&self) -> Option<(u64, Option<Generation>)> {
        self.exports.first_key_value().map(|(revision, export)| (*revision, export.slot))
    }

    pub(crate) fn slot(&self, revision: u64) -> Option<Generation> {
        self.exports.get(&revision)?.slot
    }

    pub(crate) fn slots(&self) -> Vec<Generation> {
        self.exports.values().filter_map(|export| export.slot).collect()
    }

    pub(crate) fn set_slot(&mut self, revision: u64, slot: Generation) {
        if let Some(export) = self.exports.get_mut(&revision) {
            export.slot = Some(slot);
        }
    }

    /// About `bytes_max` of the images that a copy at `revision` reads, oldest change first, each
    /// with the entry that made it.
    pub(crate) fn spillable(&self, revision: u64, bytes_max: usize) -> Vec<Spilled> {
        let (mut spillable, mut bytes) = (Vec::new(), 0);
        for (at, key) in self.order.range((revision + 1, Bytes::new())..) {
            if bytes >= bytes_max {
                break;
            }
            let image = earliest_after(&self.images[key], revision);
            if let Some(image) = image.filter(|image| image.revision == *at) {
                bytes += cost(key, image.before.as_ref());
                spillable.push((key.clone(), *at, image.before.clone()));
            }
        }
        spillable
    }

    /// Forgets images that the engine holds now, those that no other view needs, and says how many
    /// went; none where the copy has ended.
    pub(crate) fn forget_spilled(
        &mut self,
        revision: u64,
        slot: Generation,
        spilled: &[Spilled],
    ) -> Option<usize> {
        let copies = self.exports.get(&revision).filter(|export| export.slot == Some(slot))?.count;
        let mut forgotten = 0;
        for (key, at, _) in spilled {
            let Some(images) = self.images.get_mut(key) else { continue };
            let Ok(place) = images.binary_search_by_key(at, |image| image.revision) else {
                continue;
            };
            let before = place.checked_sub(1).map_or(0, |place| images[place].revision);
            let others = |(view, count): (&u64, &usize)| *view != revision || *count > copies;
            if self.open.range(before..*at).any(others) {
                continue;
            }
            let image = images.remove(place).expect("its place was found");
            if images.is_empty() {
                self.images.remove(key);
            }
            self.bytes -= cost(key, image.before.as_ref());
            self.order.remove(&(*at, key.clone()));
            forgotten += 1;
        }
        Some(forgotten)
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

fn earliest_after(images: &VecDeque<Image>, revision: u64) -> Option<&Image> {
    images.get(images.partition_point(|image| image.revision <= revision))
}

fn cost(key: &Bytes, record: Option<&Record>) -> usize {
    key.len() + record.map_or(0, |record| record.value.len()) + RECORD_OVERHEAD_BYTES
}

/// Images dropped in one go: some two milliseconds' worth.
const PRUNED_AT_ONCE: usize = 1_024;

//! Applied records that the engine does not hold yet.
//!
//! Layers: `active` takes what is applied, `frozen` are the batches on their way to the engine,
//! oldest first. Freezing is a swap at an entry boundary, so neither apply nor a reader waits for the
//! engine's write, and a record is found in one of them until the engine holds it. Batches are
//! bounded, so an applier that has to wait for one never waits for long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::record::{Generation, Meta, Record, Stored};

/// A record waiting for the engine; none is a deletion.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) record: Option<Record>,
    /// What the engine holds of it once the batches before are written.
    stored: Option<Stored>,
}

pub(crate) type Layer = BTreeMap<Bytes, Pending>;

/// A batch that ends at an entry boundary, and the metadata of that boundary.
pub(crate) struct Frozen {
    pub(crate) layer: Layer,
    pub(crate) generation: Generation,
    pub(crate) meta: Meta,
    bytes: usize,
}

/// All layers.
#[derive(Default)]
pub(crate) struct Overlay {
    active: Layer,
    active_bytes: usize,
    frozen: VecDeque<Arc<Frozen>>,
}

impl Overlay {
    /// The newest state of a record, where it waits here.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Record>> {
        let frozen = || self.frozen.iter().rev().find_map(|frozen| frozen.layer.get(key));
        let pending = self.active.get(key).or_else(frozen);
        pending.map(|pending| &pending.record)
    }

    /// Replaces `before`, the newest state of a record, by `after`.
    pub(crate) fn put(&mut self, key: Bytes, before: Option<&Record>, after: Option<Record>) {
        self.active_bytes += cost(&key, after.as_ref());
        if let Some(pending) = self.active.get_mut(&key) {
            self.active_bytes -= cost(&key, pending.record.as_ref());
            pending.record = after;
            return;
        }
        // Not active, so the newest state is frozen or stored: by the next flush the engine has it.
        let stored = before.map(Record::stored);
        self.active.insert(key, Pending { record: after, stored });
    }

    /// Up to `limit` records of each layer from `from` to before `to`, the newest winning, and
    /// the last key up to which they are complete (none: up to `to`).
    pub(crate) fn page(&self, from: &[u8], to: &[u8], limit: usize) -> OverlayPage {
        let mut page = OverlayPage { records: BTreeMap::new(), last: None };
        for frozen in &self.frozen {
            page.take(&frozen.layer, from, to, limit);
        }
        page.take(&self.active, from, to, limit);
        page
    }

    /// The batch that the engine takes next.
    pub(crate) fn frozen(&self) -> Option<Arc<Frozen>> {
        self.frozen.front().cloned()
    }

    /// Whether the active layer is as long as a batch may be.
    pub(crate) fn is_batch(&self) -> bool {
        self.active_bytes >= BATCH_BYTES
    }

    /// Makes the active layer the newest batch.
    pub(crate) fn freeze(&mut self, generation: Generation, meta: Meta) {
        let layer = std::mem::take(&mut self.active);
        let bytes = std::mem::take(&mut self.active_bytes);
        self.frozen.push_back(Arc::new(Frozen { layer, generation, meta, bytes }));
    }

    /// The engine holds the oldest batch now.
    pub(crate) fn thaw(&mut self) {
        self.frozen.pop_front();
    }

    /// Memory held, about.
    pub(crate) fn bytes(&self) -> usize {
        self.active_bytes + self.frozen.iter().map(|frozen| frozen.bytes).sum::<usize>()
    }
}

impl Frozen {
    /// The entry it ends at.
    pub(crate) fn index(&self) -> u64 {
        self.meta.log_id.map_or(0, |id| id.index)
    }
}

impl Pending {
    pub(crate) fn stored(&self) -> Option<Stored> {
        self.stored
    }
}

/// What [`Overlay::page`] found.
pub(crate) struct OverlayPage {
    pub(crate) records: BTreeMap<Bytes, Option<Record>>,
    pub(crate) last: Option<Bytes>,
}

impl OverlayPage {
    fn take(&mut self, layer: &Layer, from: &[u8], to: &[u8], limit: usize) {
        let mut taken = 0;
        for (key, pending) in layer.range::<[u8], _>(bounds(from, to)).take(limit) {
            self.records.insert(key.clone(), pending.record.clone());
            taken += 1;
            if taken == limit {
                let sooner = self.last.as_ref().is_none_or(|last| key < last);
                if sooner {
                    self.last = Some(key.clone());
                }
            }
        }
    }
}

/// `from..to` for maps keyed by byte strings; empty where they are crossed.
pub(crate) fn bounds<'a>(
    from: &'a [u8],
    to: &'a [u8],
) -> (std::ops::Bound<&'a [u8]>, std::ops::Bound<&'a [u8]>) {
    (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to.max(from)))
}

/// A batch is closed once its records take this much: an applier that waits for one waits for some
/// milliseconds, and the engine writes few segments for one.
pub(crate) const BATCH_BYTES: usize = 128 << 10;
/// What a record costs in memory beside its bytes: map node, two headers, reference counts.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 160;

fn cost(key: &Bytes, record: Option<&Record>) -> usize {
    key.len() + record.map_or(0, |record| record.value.len()) + RECORD_OVERHEAD_BYTES
}

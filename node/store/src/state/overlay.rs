//! Applied records that the engine does not hold yet.
//!
//! Two layers: `active` takes what is applied, `frozen` is the batch on its way to the engine.
//! Freezing is a swap at an entry boundary, so neither apply nor a reader waits for the engine's
//! write, and a record is found in one of the two until the engine holds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{Generation, Meta, Record, Stored};

/// A record waiting for the engine; none is a deletion.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) record: Option<Record>,
    /// What the engine holds of it once the frozen batch is written.
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

/// Both layers.
#[derive(Default)]
pub(crate) struct Overlay {
    active: Layer,
    active_bytes: usize,
    frozen: Option<Arc<Frozen>>,
}

impl Overlay {
    /// The newest state of a record, where it waits here.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Record>> {
        let pending = self.active.get(key);
        let pending = pending.or_else(|| self.frozen.as_ref()?.layer.get(key));
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

    /// Up to `limit` records of each layer from `from` to before `to`, the active one winning, and
    /// the last key up to which they are complete (none: up to `to`).
    pub(crate) fn page(&self, from: &[u8], to: &[u8], limit: usize) -> OverlayPage {
        let mut page = OverlayPage { records: BTreeMap::new(), last: None };
        if let Some(frozen) = &self.frozen {
            page.take(&frozen.layer, from, to, limit);
        }
        page.take(&self.active, from, to, limit);
        page
    }

    /// Whether a batch waits for the engine.
    pub(crate) fn frozen(&self) -> Option<Arc<Frozen>> {
        self.frozen.clone()
    }

    /// Makes the active layer the frozen one. **No batch is frozen already.**
    pub(crate) fn freeze(&mut self, generation: Generation, meta: Meta) -> Arc<Frozen> {
        let layer = std::mem::take(&mut self.active);
        let bytes = std::mem::take(&mut self.active_bytes);
        let frozen = Arc::new(Frozen { layer, generation, meta, bytes });
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// The engine holds the frozen batch now.
    pub(crate) fn thaw(&mut self) {
        self.frozen = None;
    }

    /// Memory held, about.
    pub(crate) fn bytes(&self) -> usize {
        self.active_bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
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

/// What a record costs in memory beside its bytes: map node, two headers, reference counts.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 160;

fn cost(key: &Bytes, record: Option<&Record>) -> usize {
    key.len() + record.map_or(0, |record| record.value.len()) + RECORD_OVERHEAD_BYTES
}

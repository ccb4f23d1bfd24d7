//! Moves what was applied to the engine, in batches that end at an entry boundary.
//!
//! A batch carries the metadata of its boundary, so wherever a crash leaves the engine between two
//! batches it says which entry it stands at, and Raft replays the rest.

use super::engine::Writes;
use super::overlay::Frozen;
use super::record::{Generation, Meta, Record, SLOT_FIRST, SLOT_LAST};
use super::shared::{FlushTurn, Shared};
use super::types::StateError;
use super::undo::Undo;

impl Shared {
    /// Moves everything applied so far; true where more was applied meanwhile, or where remains of
    /// a replaced state or an ended copy are left to delete.
    pub(crate) fn flush(&self) -> Result<bool, StateError> {
        let mut turn = self.flush_turn();
        self.flush_in(&mut turn)?;
        let spilled = self.spill(Undo::is_half_full)?;
        let swept = self.sweep_garbage()?;
        if turn.batches_since_sync >= SYNC_BATCHES {
            self.engine.flush()?;
            turn.batches_since_sync = 0;
        }
        let mut memory = self.write();
        let pruned = memory.undo.prune_some();
        Ok(memory.unflushed || spilled || swept || pruned)
    }

    /// The flush of an applier that filled the overlay: one batch, no sync, no clearing up.
    pub(crate) fn flush_inline(&self) -> Result<(), StateError> {
        let mut turn = self.flush_turn();
        let frozen = {
            let mut memory = self.write();
            if memory.overlay.frozen().is_none() {
                memory.freeze();
            }
            memory.overlay.frozen()
        };
        frozen.map_or(Ok(()), |frozen| self.write_frozen(&mut turn, &frozen))
    }

    /// The spill of an applier that filled the undo: one batch.
    pub(crate) fn spill_inline(&self) -> Result<(), StateError> {
        let _turn = self.flush_turn();
        self.spill(Undo::is_nearly_full).map(|_| ())
    }

    /// Moves everything applied and syncs, then marks the state as closed in good order. One that
    /// turned out to be corrupted is in none, whatever is written to it.
    pub(crate) fn close(&self) -> Result<(), StateError> {
        if self.engine.is_corrupted() {
            return Err(StateError::Damaged("the engine read what was never written".into()));
        }
        let _applier = self.apply_turn();
        let mut turn = self.flush_turn();
        self.flush_in(&mut turn)?;
        self.engine.flush()?;
        let mut meta = {
            let memory = self.read();
            memory.position.meta(memory.generation)
        };
        meta.closed_in_boot = Some(bytes::Bytes::copy_from_slice(&self.boot_id));
        self.write_meta(&meta)
    }

    /// Writes metadata alone and syncs it.
    pub(crate) fn write_meta(&self, meta: &Meta) -> Result<(), StateError> {
        let mut writes = Writes::new();
        meta.write(&mut writes);
        self.engine.write(writes)?;
        Ok(self.engine.flush()?)
    }

    pub(crate) fn flush_in(&self, turn: &mut FlushTurn) -> Result<(), StateError> {
        // Batches that wait go first: the active layer builds on them.
        let until = {
            let mut memory = self.write();
            memory.freeze();
            memory.position.index()
        };
        loop {
            let frozen = self.read().overlay.frozen();
            let Some(frozen) = frozen.filter(|frozen| frozen.index() <= until) else {
                return Ok(());
            };
            self.write_frozen(turn, &frozen)?;
        }
    }

    fn write_frozen(&self, turn: &mut FlushTurn, frozen: &Frozen) -> Result<(), StateError> {
        let mut writes = Writes::with_capacity(frozen.layer.len() + 1);
        for (key, pending) in &frozen.layer {
            frozen.generation.write(&mut writes, key, pending.stored(), pending.record.as_ref());
        }
        frozen.meta.write(&mut writes);
        self.engine.write(writes)?;
        turn.batches_since_sync += 1;
        self.write().overlay.thaw();
        Ok(())
    }

    /// Moves before-images that an open copy needs to the engine, in a generation of their own,
    /// where `wanted` says so of the undo: however long the copy takes and whatever is written
    /// meanwhile, it comes to an end in bounded memory. True where some were moved. **In the
    /// flusher's turn.**
    fn spill(&self, wanted: fn(&Undo) -> bool) -> Result<bool, StateError> {
        let export = {
            let memory = self.read();
            memory.undo.export().filter(|_| wanted(&memory.undo))
        };
        let Some((revision, slot)) = export else { return Ok(false) };
        let Some(slot) = slot.map_or_else(|| self.free_slot(), |slot| Ok(Some(slot)))? else {
            return Ok(false);
        };
        let images = {
            let mut memory = self.write();
            memory.undo.set_slot(revision, slot);
            memory.undo.spillable(revision, SPILL_BYTES)
        };
        let mut writes = Writes::with_capacity(images.len());
        for (key, _, before) in &images {
            // The first image of a record is the one that the copy reads.
            if self.engine.get(&slot.head(key))?.is_none() {
                let absent = Record { revision: 0, value: bytes::Bytes::new() };
                slot.write(&mut writes, key, None, Some(before.as_ref().unwrap_or(&absent)));
            }
        }
        self.engine.write_in_parts(writes)?;
        let mut memory = self.write();
        match memory.undo.forget_spilled(revision, slot, &images) {
            Some(forgotten) => Ok(forgotten > 0),
            None => {
                // The copy has ended meanwhile.
                memory.garbage = true;
                Ok(false)
            }
        }
    }

    /// A generation for before-images with nothing in it.
    fn free_slot(&self) -> Result<Option<Generation>, StateError> {
        let taken = self.read().undo.slots();
        for number in SLOT_FIRST..=SLOT_LAST {
            let free = !taken.contains(&Generation(number))
                && self.engine.range(&[number], &[number + 1], 1)?.is_empty();
            if free {
                return Ok(Some(Generation(number)));
            }
        }
        Ok(None)
    }

    /// Deletes one batch of a generation that is neither in force nor being filled; true where
    /// there was one.
    pub(crate) fn sweep_garbage(&self) -> Result<bool, StateError> {
        // Imports begin and end in the flusher's turn, so what is kept stays so.
        let kept = {
            let memory = self.read();
            if !memory.garbage {
                return Ok(false);
            }
            let mut kept = memory.staging.clone();
            kept.extend(memory.undo.slots());
            kept.insert(memory.generation);
            kept
        };
        for number in (1..=SLOT_LAST).filter(|number| !kept.contains(&Generation(*number))) {
            let pairs = self.engine.range(&[number], &[number + 1], GARBAGE_BATCH)?;
            if !pairs.is_empty() {
                let deletes = pairs.into_iter().map(|(key, _)| (key, None)).collect();
                self.engine.write_in_parts(deletes)?;
                return Ok(true);
            }
        }
        self.write().garbage = false;
        Ok(false)
    }
}

/// Batches between two syncs: about a second's worth.
const SYNC_BATCHES: u32 = 64;
/// Before-images moved to the engine at once, by their bytes.
const SPILL_BYTES: usize = 1 << 20;
/// Pairs deleted at once of a state that was replaced.
const GARBAGE_BATCH: usize = 1_024;

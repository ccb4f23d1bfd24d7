//! Moves what was applied to the engine, in batches that end at an entry boundary.
//!
//! A batch carries the metadata of its boundary, so wherever a crash leaves the engine between two
//! batches it says which entry it stands at, and Raft replays the rest.

use super::engine::Writes;
use super::overlay::Frozen;
use super::record::{GENERATION_MAX, Generation, Meta};
use super::shared::{FlushTurn, Shared};
use super::types::StateError;

impl Shared {
    /// Moves everything applied so far; true where more was applied meanwhile, or where remains of
    /// a replaced state are left to delete.
    pub(crate) fn flush(&self) -> Result<bool, StateError> {
        let mut turn = self.flush_turn();
        self.flush_in(&mut turn)?;
        self.sweep_garbage()?;
        if turn.batches_since_sync >= SYNC_BATCHES {
            self.engine.flush()?;
            turn.batches_since_sync = 0;
        }
        let memory = self.read();
        Ok(memory.unflushed || memory.garbage)
    }

    /// The flush of an applier that filled the overlay: no sync, no clearing up.
    pub(crate) fn flush_inline(&self) -> Result<(), StateError> {
        let mut turn = self.flush_turn();
        self.flush_in(&mut turn)
    }

    /// Moves everything applied and syncs, then marks the state as closed in good order.
    pub(crate) fn close(&self) -> Result<(), StateError> {
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
        // A batch that failed before goes first: the active layer builds on it.
        let failed = self.read().overlay.frozen();
        if let Some(frozen) = failed {
            self.write_frozen(turn, &frozen)?;
        }
        let frozen = {
            let mut memory = self.write();
            if !memory.unflushed {
                return Ok(());
            }
            memory.unflushed = false;
            let (generation, meta) = (memory.generation, memory.position.meta(memory.generation));
            memory.overlay.freeze(generation, meta)
        };
        self.write_frozen(turn, &frozen)
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

    /// Deletes one batch of a generation that is neither in force nor being filled.
    fn sweep_garbage(&self) -> Result<(), StateError> {
        // Imports begin and end in the flusher's turn, so what is kept stays so.
        let kept = {
            let memory = self.read();
            if !memory.garbage {
                return Ok(());
            }
            let mut kept = memory.staging.clone();
            kept.insert(memory.generation);
            kept
        };
        for number in (1..=GENERATION_MAX).filter(|number| !kept.contains(&Generation(*number))) {
            let pairs = self.engine.range(&[number], &[number + 1], GARBAGE_BATCH)?;
            if !pairs.is_empty() {
                let deletes = pairs.into_iter().map(|(key, _)| (key, None)).collect();
                return Ok(self.engine.write(deletes)?);
            }
        }
        self.write().garbage = false;
        Ok(())
    }
}

/// Batches between two syncs: about a second's worth.
const SYNC_BATCHES: u32 = 64;
/// Pairs deleted at once of a state that was replaced.
const GARBAGE_BATCH: usize = 1_024;

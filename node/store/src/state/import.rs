//! Replaces the state by a snapshot.
//!
//! Chunks are staged in a generation of their own beside the state in force, so memory stays
//! bounded and a crash, an error or a change of mind leaves the old state as it was. Once
//! everything is verified one small write of metadata switches over; the old generation is deleted
//! by later flushes.

use std::sync::Arc;

use bytes::Bytes;

use super::engine::Writes;
use super::export::{CHUNK_DIGEST_FIRST, ChunkDigest, derive_chunk_digest};
use super::hash::SetHash;
use super::key;
use super::limits::VALUE_BYTES_MAX;
use super::overlay::Overlay;
use super::record::{FORMAT, GENERATION_MAX, Generation, Record};
use super::shared::{Position, Shared};
use super::types::StateError;
use super::undo::Undo;
use crate::v1::{SnapshotChunk, SnapshotHeader, SnapshotRecord};

/// A snapshot on its way in. Dropping it leaves the state as it was.
pub struct Import {
    shared: Arc<Shared>,
    header: SnapshotHeader,
    generation: Generation,
    hash: SetHash,
    count: u64,
    next_number: u64,
    digest: ChunkDigest,
    last_key: Option<Bytes>,
}

impl Import {
    pub(crate) fn begin(shared: &Arc<Shared>, header: SnapshotHeader) -> Result<Self, StateError> {
        if header.format != FORMAT {
            let what = format!("its format is {}, this version knows {FORMAT}", header.format);
            return Err(StateError::Snapshot(what));
        }
        let generation = stage(shared)?;
        Ok(Self {
            shared: Arc::clone(shared),
            header,
            generation,
            hash: SetHash::default(),
            count: 0,
            next_number: 0,
            digest: CHUNK_DIGEST_FIRST,
            last_key: None,
        })
    }

    /// Checks the chunk's number and digest, and stages its records.
    ///
    /// # Errors
    /// [`StateError::Snapshot`] where the chunk does not follow the one before.
    pub fn push(&mut self, chunk: SnapshotChunk) -> Result<(), StateError> {
        if chunk.number != self.next_number {
            let what = format!("chunk {} came for {}", chunk.number, self.next_number);
            return Err(StateError::Snapshot(what));
        }
        let digest = derive_chunk_digest(&self.digest, &chunk.records);
        if chunk.digest != digest[..] {
            let what = format!("chunk {} does not match its digest", chunk.number);
            return Err(StateError::Snapshot(what));
        }
        let mut writes = Writes::with_capacity(chunk.records.len());
        for record in chunk.records {
            self.stage_record(&mut writes, record)?;
        }
        self.shared.engine.write(writes)?;
        self.digest = digest;
        self.next_number += 1;
        Ok(())
    }

    /// Checks count and state hash, then replaces everything. Open views expire.
    ///
    /// # Errors
    /// [`StateError::Snapshot`] where the records are not those the header promises; the state is
    /// as it was then.
    pub fn finish(self) -> Result<(), StateError> {
        if self.count != self.header.record_count {
            let what = format!("{} of {} records came", self.count, self.header.record_count);
            return Err(StateError::Snapshot(what));
        }
        if self.hash.value().0[..] != self.header.state_hash[..] {
            return Err(StateError::Snapshot("its records do not match its state hash".into()));
        }
        self.switch()
    }

    fn stage_record(
        &mut self,
        writes: &mut Writes,
        record: SnapshotRecord,
    ) -> Result<(), StateError> {
        let newest = self.header.last_log_id.map_or(0, |id| id.index);
        let ascends = self.last_key.as_ref().is_none_or(|last| *last < record.key);
        if !ascends || !key::is_plausible(&record.key) {
            return Err(StateError::Snapshot("its keys are not in order".into()));
        }
        if record.value.len() > VALUE_BYTES_MAX || !(1..=newest).contains(&record.revision) {
            return Err(StateError::Snapshot("a record is out of bounds".into()));
        }
        self.hash.add_record(&record);
        self.count += 1;
        let SnapshotRecord { key, revision, value } = record;
        self.generation.write(writes, &key, None, Some(&Record { revision, value }));
        self.last_key = Some(key);
        Ok(())
    }

    fn switch(&self) -> Result<(), StateError> {
        let mut applier = self.shared.apply_turn();
        let _flusher = self.shared.flush_turn();
        let position = Position {
            log_id: self.header.last_log_id,
            membership: self.header.membership.clone(),
            stamped_ms: self.header.stamped_ms,
            hash: self.hash,
            record_count: self.count,
        };
        // What was staged goes to the disk before the metadata that makes it the state.
        self.shared.engine.flush()?;
        self.shared.write_meta(&position.meta(self.generation))?;

        let mut memory = self.shared.write();
        memory.epoch += 1;
        memory.generation = self.generation;
        memory.staging.remove(&self.generation);
        memory.position = position;
        memory.unflushed = false;
        memory.overlay = Overlay::default();
        memory.undo = Undo::new(self.shared.config.undo_bytes_max);
        memory.checkpoints.clear();
        memory.remember_checkpoint();
        memory.garbage = true;
        applier.next_expiry_ms = 0;
        Ok(())
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        let _flusher = self.shared.flush_turn();
        let mut memory = self.shared.write();
        if memory.staging.remove(&self.generation) {
            memory.garbage = true;
        }
    }
}

/// Reserves a generation with nothing in it.
fn stage(shared: &Shared) -> Result<Generation, StateError> {
    let _flusher = shared.flush_turn();
    let (current, taken) = {
        let memory = shared.read();
        (memory.generation, memory.staging.clone())
    };
    let after = (current.0 + 1..=GENERATION_MAX).chain(1..current.0).map(Generation);
    for generation in after.filter(|generation| !taken.contains(generation)) {
        let number = generation.0;
        if shared.engine.range(&[number], &[number + 1], 1)?.is_empty() {
            shared.write().staging.insert(generation);
            return Ok(generation);
        }
    }
    Err(StateError::Snapshot("too many replaced states wait to be deleted".into()))
}

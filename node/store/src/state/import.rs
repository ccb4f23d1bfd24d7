//! Replaces the state by a snapshot.
//!
//! Chunks are staged in a generation of their own beside the state in force, so memory stays
//! bounded and a crash, an error or a change of mind leaves the old state as it was. Once
//! everything is verified one small write of metadata switches over; the old generation is deleted
//! by later flushes.

use std::sync::Arc;

use bytes::Bytes;

use super::engine::Writes;
use super::epoch::{self, EPOCH_FIRST};
use super::export::{CHUNK_DIGEST_FIRST, ChunkDigest, derive_chunk_digest};
use super::hash::SetHash;
use super::key;
use super::record::{FORMAT, Generation, Record};
use super::restore::check_record;
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
    last_key: Bytes,
    /// The epoch that its records say.
    epoch: u64,
}

impl Import {
    pub(crate) fn begin(shared: &Arc<Shared>, header: SnapshotHeader) -> Result<Self, StateError> {
        if header.format != FORMAT {
            let what = format!("its format is {}, this version knows {FORMAT}", header.format);
            return Err(StateError::Snapshot(what));
        }
        let generation = shared.reserve_generation()?;
        Ok(Self {
            shared: Arc::clone(shared),
            header,
            generation,
            hash: SetHash::default(),
            count: 0,
            next_number: 0,
            digest: CHUNK_DIGEST_FIRST,
            last_key: Bytes::new(),
            epoch: EPOCH_FIRST,
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
        self.shared.engine.write_in_parts(writes)?;
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
        if self.epoch != self.header.epoch.max(EPOCH_FIRST) {
            return Err(StateError::Snapshot("its records are of another epoch".into()));
        }
        self.switch()
    }

    fn stage_record(
        &mut self,
        writes: &mut Writes,
        record: SnapshotRecord,
    ) -> Result<(), StateError> {
        let newest = self.header.last_log_id.map_or(0, |id| id.index);
        check_record(&self.last_key, newest, &record)
            .map_err(|what| StateError::Snapshot(what.into()))?;
        self.hash.add_record(&record);
        self.count += 1;
        let SnapshotRecord { key, revision, value } = record;
        let record = Record { revision, value };
        if key == key::epoch() {
            self.epoch = epoch::newest(&epoch::decode(Some(&record))?);
        }
        self.generation.write(writes, &key, None, Some(&record));
        self.last_key = key;
        Ok(())
    }

    fn switch(&self) -> Result<(), StateError> {
        // Most of it reaches the disk before anyone has to wait.
        self.shared.engine.flush()?;
        let mut applier = self.shared.apply_turn();
        let _flusher = self.shared.flush_turn();
        let position = Position {
            log_id: self.header.last_log_id,
            membership: self.header.membership.clone(),
            stamped_ms: self.header.stamped_ms,
            hash: self.hash,
            record_count: self.count,
            epoch: self.epoch,
            restore: None,
        };
        // What was staged goes to the disk before the metadata that makes it the state.
        self.shared.engine.flush()?;
        self.shared.write_meta(&position.meta(self.generation))?;

        let mut memory = self.shared.write();
        memory.replace(self.generation, position, Undo::new(self.shared.config.undo_bytes_max));
        memory.unflushed = false;
        memory.checkpoints.clear();
        memory.remember_checkpoint();
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

//! A backup on its way in through the log.
//!
//! Its records are staged in a generation of their own beside the state in force, as an import's
//! are, and the commit entry makes that generation the state. What is known of it, [`Restore`],
//! lies in the metadata, so it is written with the batch whose index it describes. A chunk's
//! records are handed to the engine **before** its entry counts as applied: wherever a crash leaves
//! the engine, its metadata never names a record that is not there, and what lies beyond is
//! written again, with equal values, when the log is replayed.
//!
//! Two sums run: over the records as the backup has them, to be compared with its header; and over
//! those that are kept, at the revision of the entry that began the restore, to be the state hash.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::engine::{StateEngine, Writes};
use super::export::{CHUNK_DIGEST_FIRST, ChunkDigest, derive_chunk_digest};
use super::hash::{SetHash, StateHash};
use super::key;
use super::limits::VALUE_BYTES_MAX;
use super::record::{GENERATION_MAX, Generation, Record};
use super::types::StateError;
use crate::v1::{RestoreBegin, SnapshotChunk, SnapshotRecord};

/// A restore without a step for this long, in stamped time, is given up.
pub const RESTORE_IDLE_MS_MAX: u64 = 60_000;

/// How far a restore has come.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Restore {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) restore_id: Bytes,
    #[prost(uint32, tag = "2")]
    generation: u32,
    /// The entry that began it: the revision of every record it stages.
    #[prost(uint64, tag = "3")]
    begun_at: u64,
    /// Stamped time of the last step.
    #[prost(uint64, tag = "4")]
    stepped_ms: u64,
    #[prost(uint64, tag = "5")]
    next_number: u64,
    #[prost(bytes = "bytes", tag = "6")]
    digest: Bytes,
    /// Records up to this key are staged; empty before the first.
    #[prost(bytes = "bytes", tag = "7")]
    last_key: Bytes,
    /// What the header promises.
    #[prost(message, required, tag = "8")]
    promised: Sum,
    /// The newest entry of the backup: no record of it is newer.
    #[prost(uint64, tag = "9")]
    newest: u64,
    /// What came.
    #[prost(message, required, tag = "10")]
    came: Sum,
    /// What is staged.
    #[prost(message, required, tag = "11")]
    kept: Sum,
}

/// A number of records and their set hash.
#[derive(Clone, PartialEq, Message)]
struct Sum {
    #[prost(uint64, tag = "1")]
    records: u64,
    #[prost(bytes = "bytes", tag = "2")]
    hash: Bytes,
}

/// What became of a step.
pub(crate) enum Step {
    /// It was taken, and these pairs are to be written before it counts.
    Taken(Arc<Restore>, Writes),
    /// It was taken before: its proposer did not hear of it.
    Again,
    /// It does not follow what came before, so the restore cannot succeed.
    Misfit,
}

impl Restore {
    /// **The begin entry keeps the limits of its kind.**
    pub(crate) fn begin(
        begin: &RestoreBegin,
        generation: Generation,
        index: u64,
        now_ms: u64,
    ) -> Self {
        let header = begin.header.clone().unwrap_or_default();
        Self {
            restore_id: begin.restore_id.clone(),
            generation: u32::from(generation.0),
            begun_at: index,
            stepped_ms: now_ms,
            next_number: 0,
            digest: Bytes::from_static(&CHUNK_DIGEST_FIRST),
            last_key: Bytes::new(),
            promised: Sum { records: header.record_count, hash: header.state_hash },
            newest: header.last_log_id.map_or(0, |id| id.index),
            came: Sum::of(0, &SetHash::default()),
            kept: Sum::of(0, &SetHash::default()),
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation(u8::try_from(self.generation).expect("checked when it was read or made"))
    }

    /// Whether metadata can hold this.
    pub(crate) fn is_plausible(&self) -> bool {
        (1..=u32::from(GENERATION_MAX)).contains(&self.generation)
            && self.digest.len() == size_of::<ChunkDigest>()
            && self.came.set_hash().is_some()
            && self.kept.set_hash().is_some()
    }

    /// Whether it was left alone for too long.
    pub(crate) fn has_lapsed(&self, now_ms: u64) -> bool {
        now_ms > self.stepped_ms.saturating_add(RESTORE_IDLE_MS_MAX)
    }

    /// Takes the next chunk.
    pub(crate) fn step(&self, chunk: &SnapshotChunk, now_ms: u64) -> Step {
        if chunk.number.checked_add(1) == Some(self.next_number) && chunk.digest == self.digest {
            return Step::Again;
        }
        match self.stage(chunk, now_ms) {
            Some((next, writes)) => Step::Taken(Arc::new(next), writes),
            None => Step::Misfit,
        }
    }

    fn stage(&self, chunk: &SnapshotChunk, now_ms: u64) -> Option<(Self, Writes)> {
        let digest = derive_chunk_digest(&self.chain()?, &chunk.records);
        if chunk.number != self.next_number || chunk.digest != digest[..] {
            return None;
        }
        let (mut came, mut kept) = (self.came.set_hash()?, self.kept.set_hash()?);
        let (mut kept_count, mut last_key) = (self.kept.records, self.last_key.clone());
        let mut writes = Writes::with_capacity(chunk.records.len());
        for record in &chunk.records {
            check_record(&last_key, self.newest, record).ok()?;
            came.add_record(record);
            if key::is_of_tree(&record.key) {
                let moved = Record { revision: self.begun_at, value: record.value.clone() };
                kept.add(&record.key, moved.revision, &moved.value);
                kept_count += 1;
                self.generation().write(&mut writes, &record.key, None, Some(&moved));
            }
            last_key.clone_from(&record.key);
        }
        let came = Sum::of(self.came.records + chunk.records.len() as u64, &came);
        let next = Self {
            stepped_ms: now_ms,
            next_number: self.next_number + 1,
            digest: Bytes::copy_from_slice(&digest),
            // Not a slice of the chunk's: that would keep all of it in memory.
            last_key: Bytes::copy_from_slice(&last_key),
            came,
            kept: Sum::of(kept_count, &kept),
            ..self.clone()
        };
        Some((next, writes))
    }

    /// Number and set hash of the staged records, where they are all that was promised.
    pub(crate) fn whole(&self) -> Option<(u64, SetHash)> {
        if self.came != self.promised {
            return None;
        }
        Some((self.kept.records, self.kept.set_hash()?))
    }

    /// Number and set hash of the records staged so far, and the last key.
    pub(crate) fn staged(&self) -> Option<(u64, SetHash, &Bytes)> {
        Some((self.kept.records, self.kept.set_hash()?, &self.last_key))
    }

    fn chain(&self) -> Option<ChunkDigest> {
        self.digest.as_ref().try_into().ok()
    }
}

impl Sum {
    fn of(records: u64, hash: &SetHash) -> Self {
        Self { records, hash: Bytes::copy_from_slice(&hash.value().0) }
    }

    fn set_hash(&self) -> Option<SetHash> {
        let hash = self.hash.as_ref().try_into().ok()?;
        Some(SetHash::from_value(&StateHash(hash)))
    }
}

/// Whether a record can follow one with the key `last` (empty: none) in a snapshot whose newest
/// entry is `newest`.
pub(crate) fn check_record(
    last: &[u8],
    newest: u64,
    record: &SnapshotRecord,
) -> Result<(), &'static str> {
    if last >= &record.key[..] || !key::is_plausible(&record.key) {
        return Err("its keys are not in order");
    }
    if record.value.len() > VALUE_BYTES_MAX || !(1..=newest).contains(&record.revision) {
        return Err("a record is out of bounds");
    }
    Ok(())
}

/// A generation with nothing in it, apart from those taken.
pub(crate) fn free_generation(
    engine: &dyn StateEngine,
    current: Generation,
    taken: &std::collections::BTreeSet<Generation>,
) -> Result<Option<Generation>, StateError> {
    let after = (current.0 + 1..=GENERATION_MAX).chain(1..current.0).map(Generation);
    for generation in after.filter(|generation| !taken.contains(generation)) {
        let number = generation.0;
        if engine.range(&[number], &[number + 1], 1)?.is_empty() {
            return Ok(Some(generation));
        }
    }
    Ok(None)
}

/// The restore under way, shared with whoever writes metadata.
pub(crate) type UnderWay = Option<Arc<Restore>>;

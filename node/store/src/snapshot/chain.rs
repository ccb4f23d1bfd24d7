//! Follows the chunks of a snapshot: their numbers, the digest chain, the count, the set hash.

use super::frame::Trailer;
use crate::state::{CHUNK_DIGEST_FIRST, ChunkDigest, SetHash, derive_chunk_digest};
use crate::v1::{SnapshotChunk, SnapshotHeader};

pub(super) struct Chain {
    chunks: u64,
    records: u64,
    digest: ChunkDigest,
    hash: Option<SetHash>,
}

impl Chain {
    /// Checks the set hash too, which costs a SHA-512 a record.
    pub(super) fn whole() -> Self {
        Self { hash: Some(SetHash::default()), ..Self::light() }
    }

    /// Leaves the set hash out.
    pub(super) fn light() -> Self {
        Self { chunks: 0, records: 0, digest: CHUNK_DIGEST_FIRST, hash: None }
    }

    /// Takes the next chunk, or says why it cannot be the next.
    pub(super) fn push(&mut self, chunk: &SnapshotChunk) -> Result<(), String> {
        if chunk.number != self.chunks {
            return Err(format!("chunk {} stands in the place of {}", chunk.number, self.chunks));
        }
        let digest = derive_chunk_digest(&self.digest, &chunk.records);
        if chunk.digest != digest[..] {
            return Err(format!("chunk {} does not match its digest", chunk.number));
        }
        self.digest = digest;
        self.chunks += 1;
        self.records += chunk.records.len() as u64;
        if let Some(hash) = &mut self.hash {
            chunk.records.iter().for_each(|record| hash.add_record(record));
        }
        Ok(())
    }

    pub(super) fn trailer(&self) -> Trailer {
        Trailer { chunks: self.chunks, records: self.records, digest: self.digest.to_vec() }
    }

    /// Checks that the chunks so far are all that the header promised.
    pub(super) fn finish(&self, header: &SnapshotHeader) -> Result<(), String> {
        if self.records != header.record_count {
            return Err(format!("it has {} records of {}", self.records, header.record_count));
        }
        match &self.hash {
            Some(hash) if header.state_hash != hash.value().0[..] => {
                Err("its records do not add up to its state hash".to_owned())
            }
            _ => Ok(()),
        }
    }
}

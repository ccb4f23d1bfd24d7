//! A consistent copy of the state, read while applies go on.
//!
//! An export is a view of every record in key order. The chunks' digests form a chain:
//! `digest(n) = SHA-256(digest(n - 1) ‖ record ‖ …)`, each record encoded with its length before
//! it, and 32 zero bytes before the first.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use ring::digest;

use super::key;
use super::record::FORMAT;
use super::shared::{Found, Shared};
use super::types::StateError;
use super::view::View;
use crate::v1::{SnapshotChunk, SnapshotHeader, SnapshotRecord};

/// A copy of the state at one revision, chunk by chunk.
pub struct Export {
    view: View,
    header: SnapshotHeader,
    /// What is not read yet; none at the end.
    rest: Option<Range<Bytes>>,
    ready: VecDeque<(Bytes, Found)>,
    number: u64,
    digest: ChunkDigest,
}

/// The digest of a chunk, in the chain of its snapshot.
pub type ChunkDigest = [u8; 32];

/// What stands before the first chunk's digest in the chain.
pub const CHUNK_DIGEST_FIRST: ChunkDigest = [0; 32];

/// The digest of a chunk with these records after a chunk with the digest `previous`.
#[must_use]
pub fn derive_chunk_digest(previous: &ChunkDigest, records: &[SnapshotRecord]) -> ChunkDigest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(previous);
    let mut buffer = Vec::new();
    for record in records {
        buffer.clear();
        record.encode_length_delimited(&mut buffer).expect("a vector grows as needed");
        context.update(&buffer);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

impl Export {
    pub(crate) fn begin(shared: &Arc<Shared>) -> Result<Self, StateError> {
        // No entry may come between the view and the header that describes it.
        let _applier = shared.apply_turn();
        if shared.read().position.restore.is_some() {
            return Err(StateError::Restoring);
        }
        let view = View::open_exported(shared);
        let memory = shared.read();
        let position = &memory.position;
        let header = SnapshotHeader {
            format: FORMAT,
            cluster_id: Bytes::new(),
            last_log_id: position.log_id,
            membership: position.membership.clone(),
            stamped_ms: position.stamped_ms,
            state_hash: Bytes::copy_from_slice(&position.hash.value().0),
            record_count: position.record_count,
            snapshot_id: String::new(),
            epoch: position.epoch(),
        };
        drop(memory);
        Ok(Self {
            view,
            header,
            rest: Some(key::everything()),
            ready: VecDeque::new(),
            number: 0,
            digest: CHUNK_DIGEST_FIRST,
        })
    }

    /// `cluster_id` and `snapshot_id` are left empty for the caller to fill.
    #[must_use]
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The next chunk (about 256 KiB), None at the end.
    ///
    /// # Errors
    /// [`StateError::ViewExpired`] where applies overtook the copy by more than the undo's bound:
    /// begin a new one. Otherwise where the engine cannot read what was written.
    pub fn next_chunk(&mut self) -> Result<Option<SnapshotChunk>, StateError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < CHUNK_BYTES
            && let Some(record) = self.next_record()?
        {
            bytes += record.encoded_len();
            records.push(record);
        }
        if records.is_empty() {
            return Ok(None);
        }
        self.digest = derive_chunk_digest(&self.digest, &records);
        let number = self.number;
        self.number += 1;
        Ok(Some(SnapshotChunk { number, records, digest: Bytes::copy_from_slice(&self.digest) }))
    }

    fn next_record(&mut self) -> Result<Option<SnapshotRecord>, StateError> {
        while self.ready.is_empty()
            && let Some(range) = self.rest.take()
        {
            let page = self.view.page(&range, PAGE_RECORDS)?;
            self.ready.extend(page.found);
            self.rest = page.next.map(|next| next..range.end);
        }
        let Some((key, found)) = self.ready.pop_front() else { return Ok(None) };
        let record = match found {
            Found::Record(record) => record,
            // Its other parts may have been replaced since the page was read: the view knows.
            Found::Head(head) if head.is_long() => match self.view.record(&key)? {
                Some(record) => record,
                None => return Err(StateError::Damaged("a long record has gone".into())),
            },
            Found::Head(head) => head.into_record(&key)?,
        };
        Ok(Some(SnapshotRecord { key, revision: record.revision, value: record.value }))
    }
}

/// A chunk is closed once its records take this much.
const CHUNK_BYTES: usize = 256 << 10;
/// Records per page: at most half a megabyte of heads in memory.
const PAGE_RECORDS: usize = 128;

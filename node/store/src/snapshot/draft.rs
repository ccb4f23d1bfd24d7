//! A snapshot being written.

use std::sync::Arc;

use prost::Message;

use super::chain::Chain;
use super::frame::{self, FILE_HEADER_BYTES, Kind};
use super::reader::SnapshotReader;
use super::{DIRECTORY, Name, SnapshotError, SnapshotStore, damaged};
use crate::disk::{File, Open};
use crate::v1::{SnapshotChunk, SnapshotHeader};

pub(super) const SUFFIX: &str = ".tmp";
/// So much is written between two syncs. All of a large snapshot at once would keep the disk from
/// everybody else, the log's writer first, and fill the memory that the kernel gives to pages.
const SYNC_BYTES: u64 = 8 << 20;

/// A file under a temporary name. It is removed where it is dropped unfinished.
pub(super) struct Draft {
    store: SnapshotStore,
    path: String,
    name: Name,
    file: Arc<dyn File>,
    offset: u64,
    /// Up to here it is on the disk.
    synced: u64,
    header: SnapshotHeader,
    chain: Chain,
    finished: bool,
}

impl Draft {
    pub(super) fn begin(
        store: &SnapshotStore,
        header: SnapshotHeader,
        sequence: u64,
    ) -> Result<Self, SnapshotError> {
        let path = format!("{DIRECTORY}/{sequence:020}{SUFFIX}");
        let index = header.last_log_id.map_or(0, |id| id.index);
        let file = store.disk.open(&path, Open::New)?;
        let mut draft = Self {
            store: store.clone(),
            path,
            name: Name { index, sequence },
            file,
            offset: FILE_HEADER_BYTES as u64,
            synced: 0,
            header,
            // The set hash is checked when all of it is read back.
            chain: Chain::light(),
            finished: false,
        };
        draft.file.write_at(0, &frame::file_header())?;
        let header = draft.header.clone();
        draft.put(Kind::Header, &header)?;
        Ok(draft)
    }

    pub(super) fn push(&mut self, chunk: &SnapshotChunk) -> Result<(), SnapshotError> {
        self.chain.push(chunk).map_err(|what| damaged(&self.path, what))?;
        self.put(Kind::Chunk, chunk)
    }

    pub(super) fn finish(mut self) -> Result<SnapshotReader, SnapshotError> {
        self.chain.finish(&self.header).map_err(|what| damaged(&self.path, what))?;
        let trailer = self.chain.trailer();
        self.put(Kind::Trailer, &trailer)?;
        self.sync()?;
        SnapshotReader::open(Arc::clone(&self.file), &self.path)?.verify()?;
        self.store.adopt(&self.path, self.name)?;
        self.finished = true;
        SnapshotReader::open(Arc::clone(&self.file), &self.name.path())
    }

    fn put(&mut self, kind: Kind, message: &impl Message) -> Result<(), SnapshotError> {
        let bytes = frame::encode(kind, message, self.offset)
            .ok_or_else(|| damaged(&self.path, "a chunk is too long"))?;
        self.file.write_at(self.offset, &bytes)?;
        self.offset += bytes.len() as u64;
        if self.offset - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SnapshotError> {
        self.file.sync()?;
        self.file.drop_cache();
        self.synced = self.offset;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            self.store.remove(&self.path);
        }
    }
}

/// Stores a snapshot that a peer sends. Dropped unfinished, it leaves nothing.
pub struct SnapshotReceiver {
    draft: Draft,
}

impl SnapshotReceiver {
    pub(super) fn new(draft: Draft) -> Self {
        Self { draft }
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] where it does not follow the one before; the operating system's.
    pub fn push(&mut self, chunk: SnapshotChunk) -> Result<(), SnapshotError> {
        self.draft.push(&chunk)
    }

    /// Syncs, reads back, verifies digest chain, count and set hash, and makes it the newest
    /// (where none with a higher index is stored).
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] where something is missing or wrong; the operating system's.
    /// Nothing is replaced then.
    pub fn finish(self) -> Result<SnapshotReader, SnapshotError> {
        self.draft.finish()
    }
}

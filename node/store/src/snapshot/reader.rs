//! Reading a snapshot file.

use std::sync::Arc;

use prost::Message;

use super::chain::Chain;
use super::frame::{self, FILE_HEADER_BYTES, Frame, Kind, Trailer};
use super::{SnapshotError, damaged};
use crate::disk::File;
use crate::state::SNAPSHOT_FORMAT;
use crate::v1::{SnapshotChunk, SnapshotHeader};

/// After so many bytes the pages that were read are let go of.
const DROP_BYTES: u64 = 8 << 20;

/// Reads a stored snapshot chunk by chunk.
pub struct SnapshotReader {
    file: Arc<dyn File>,
    path: String,
    header: SnapshotHeader,
    begin: u64,
    offset: u64,
    chain: Chain,
    ended: bool,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SnapshotReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SnapshotReader {
    pub(super) fn open(file: Arc<dyn File>, path: &str) -> Result<Self, SnapshotError> {
        frame::check_file_header(file.as_ref(), path)?;
        let first = frame::decode(file.as_ref(), path, FILE_HEADER_BYTES as u64)?;
        if first.kind != Kind::Header as u8 {
            return Err(damaged(path, "it does not begin with its header"));
        }
        let header: SnapshotHeader = parse(path, first.body)?;
        if header.format != SNAPSHOT_FORMAT {
            return Err(SnapshotError::Newer { file: path.to_owned(), format: header.format });
        }
        Ok(Self {
            header,
            file,
            path: path.to_owned(),
            begin: first.end,
            offset: first.end,
            chain: Chain::light(),
            ended: false,
        })
    }

    /// What it holds.
    #[must_use]
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The length of its file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn file_bytes(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    /// The next chunk, None at the end.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] where the file is; the operating system's.
    pub fn next_chunk(&mut self) -> Result<Option<SnapshotChunk>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let Frame { kind, body, end } = frame::decode(self.file.as_ref(), &self.path, self.offset)?;
        if self.offset / DROP_BYTES != end / DROP_BYTES {
            // Nobody reads it twice: the memory is better used for what the state reads.
            self.file.drop_cache();
        }
        self.offset = end;
        if kind == Kind::Chunk as u8 {
            let chunk: SnapshotChunk = parse(&self.path, body)?;
            self.chain.push(&chunk).map_err(|what| damaged(&self.path, what))?;
            return Ok(Some(chunk));
        }
        if kind != Kind::Trailer as u8 {
            return Err(damaged(&self.path, format!("a frame has the unknown kind {kind}")));
        }
        self.check_end(&parse(&self.path, body)?)?;
        self.ended = true;
        Ok(None)
    }

    /// Reads all of it, set hash included, then begins again.
    pub(super) fn verify(&mut self) -> Result<(), SnapshotError> {
        self.rewind(Chain::whole());
        while self.next_chunk()?.is_some() {}
        self.rewind(Chain::light());
        Ok(())
    }

    fn rewind(&mut self, chain: Chain) {
        self.offset = self.begin;
        self.chain = chain;
        self.ended = false;
    }

    fn check_end(&self, trailer: &Trailer) -> Result<(), SnapshotError> {
        if *trailer != self.chain.trailer() {
            return Err(damaged(&self.path, "its trailer does not match its chunks"));
        }
        if self.file.len()? != self.offset {
            return Err(damaged(&self.path, "something follows its trailer"));
        }
        self.chain.finish(&self.header).map_err(|what| damaged(&self.path, what))
    }
}

fn parse<M: Message + Default>(path: &str, body: bytes::Bytes) -> Result<M, SnapshotError> {
    M::decode(body).map_err(|_| damaged(path, "a frame does not decode"))
}

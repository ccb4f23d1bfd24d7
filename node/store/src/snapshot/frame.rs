//! The bytes of a snapshot file.
//!
//! ```text
//! file     "CONCSNP1" | version u32 | checksum u32 | header frame | chunk frames | trailer frame
//! frame    body length u32 | checksum u32 | kind u8 | body
//! kind 1   conclave.v1.SnapshotHeader
//! kind 2   conclave.v1.SnapshotChunk, numbered from 0
//! kind 3   Trailer
//! ```
//!
//! Numbers are little-endian. The file's checksum is CRC-32 over what stands before it, so that a
//! newer version is told from a damaged one; a frame's is over the frame's offset (u64), length, kind
//! and body. Nothing follows the trailer.

use prost::Message;

use super::{SnapshotError, damaged};
use crate::disk::File;

const MAGIC: [u8; 8] = *b"CONCSNP1";
const VERSION: u32 = 1;
pub(super) const FILE_HEADER_BYTES: usize = 16;
const FRAME_HEADER_BYTES: usize = 9;
/// Longest body of a frame. A chunk has about 256 KiB, and a record more at most.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Header = 1,
    Chunk = 2,
    Trailer = 3,
}

/// The end of a snapshot.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Trailer {
    #[prost(uint64, tag = "1")]
    pub(super) chunks: u64,
    #[prost(uint64, tag = "2")]
    pub(super) records: u64,
    /// Of the last chunk.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) digest: Vec<u8>,
}

/// A frame read back; its checksum held.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) body: bytes::Bytes,
    /// Offset of the next.
    pub(super) end: u64,
}

pub(super) fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut bytes = [0; FILE_HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Encodes a frame for `offset`. None where its body is too long.
pub(super) fn encode(kind: Kind, message: &impl Message, offset: u64) -> Option<Vec<u8>> {
    let length = message.encoded_len();
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    message.encode(&mut bytes).expect("a vector grows as needed");
    bytes[..4].copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    bytes[8] = kind as u8;
    let checksum = checksum(offset, &bytes);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    Some(bytes)
}

/// Checks the start of a file.
pub(super) fn check_file_header(file: &dyn File, path: &str) -> Result<(), SnapshotError> {
    let bytes = read(file, path, 0, FILE_HEADER_BYTES)?;
    if bytes[..8] != MAGIC || bytes[12..] != crc32fast::hash(&bytes[..12]).to_le_bytes() {
        return Err(damaged(path, "it is no snapshot"));
    }
    match u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")) {
        VERSION => Ok(()),
        format => Err(SnapshotError::Newer { file: path.to_owned(), format }),
    }
}

/// Reads the frame at `offset`.
pub(super) fn decode(file: &dyn File, path: &str, offset: u64) -> Result<Frame, SnapshotError> {
    let head = read(file, path, offset, FRAME_HEADER_BYTES)?;
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let length = number(0) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(damaged(path, format!("the frame at {offset} is too long")));
    }
    let bytes = read(file, path, offset, FRAME_HEADER_BYTES + length)?;
    if checksum(offset, &bytes) != number(4) {
        return Err(damaged(path, format!("the frame at {offset} does not match its checksum")));
    }
    let end = offset + bytes.len() as u64;
    Ok(Frame { kind: bytes[8], body: bytes::Bytes::from(bytes).slice(FRAME_HEADER_BYTES..), end })
}

fn read(file: &dyn File, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = vec![0; length];
    if file.read_at(offset, &mut bytes)? < length {
        return Err(damaged(path, format!("it ends within the frame at {offset}")));
    }
    Ok(bytes)
}

fn checksum(offset: u64, frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.finalize()
}

//! A segment file: its name and its header.
//!
//! ```text
//! offset 0    "CONCLOG1" | version u32 | body length u32 | checksum u32 | body | zeros
//! offset 512  batches
//! ```
//!
//! The body is a [`SegmentHeader`]; the checksum is CRC-32 over version, length and body. The name
//! is `<sequence>-<next index>.log`: segments are in the order of their sequence numbers, which
//! have no gaps; the index is that of the first entry the segment can hold.

use std::sync::Arc;

use prost::Message;

use super::format::number_u32;
use super::group::Halt;
use super::standing::Standing;
use super::{DIRECTORY, LogError, damaged};
use crate::disk::{Disk, File};

const MAGIC: [u8; 8] = *b"CONCLOG1";
const VERSION: u32 = 1;
const BODY_AT: usize = 20;
/// Where the batches begin.
pub(super) const BATCHES_AT: usize = 512;

/// An open segment.
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: String,
    pub(super) file: Arc<dyn File>,
}

/// What a segment says about itself and everything before it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SegmentHeader {
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    /// The number of its first batch.
    #[prost(uint64, tag = "2")]
    pub(super) first_batch: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) standing: Option<Standing>,
}

impl SegmentHeader {
    pub(super) fn standing(&self) -> Standing {
        self.standing.unwrap_or_default()
    }

    pub(super) fn path(&self) -> String {
        let standing = self.standing();
        let next = standing.last.map_or(0, |last| last.index.saturating_add(1));
        format!("{DIRECTORY}/{:020}-{next:020}.log", self.sequence)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let body = self.encode_to_vec();
        let length = u32::try_from(body.len()).expect("a header is short");
        let mut bytes = vec![0; BATCHES_AT];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(&bytes[8..16], &body);
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        bytes[BODY_AT..BODY_AT + body.len()].copy_from_slice(&body);
        bytes
    }

    /// Reads the header at the start of a segment's bytes.
    pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Self, LogError> {
        let valid = Self::valid_body(bytes);
        let Some(body) = valid else {
            return Err(damaged(path, "its header is not valid"));
        };
        let version = number_u32(bytes, 8).unwrap_or(0);
        if version != VERSION {
            let what = format!(
                "it has format {version} and this program knows {VERSION} only: start the program that wrote it"
            );
            return Err(LogError::Damaged { file: path.to_owned(), what });
        }
        let header = Self::decode(body).map_err(|_| damaged(path, "its header does not decode"))?;
        if header.path() != path {
            return Err(damaged(path, "its name is not the one its header has"));
        }
        Ok(header)
    }

    fn valid_body(bytes: &[u8]) -> Option<&[u8]> {
        let header = bytes.get(..BATCHES_AT)?;
        let length = number_u32(header, 12)? as usize;
        let body = header.get(BODY_AT..BODY_AT.checked_add(length)?)?;
        let rest = &header[BODY_AT + length..];
        let valid = header[..8] == MAGIC
            && number_u32(header, 16)? == checksum(&header[8..16], body)
            && rest.iter().all(|byte| *byte == 0);
        valid.then_some(body)
    }
}

impl Segment {
    /// Makes a prepared file at `from` the segment of `header`. Once this returned, the segment
    /// with its header is durable; before, it has no name that recovery looks at. A directory that
    /// has no space for the name leaves the file where it was.
    pub(super) fn install(
        disk: &dyn Disk,
        file: Arc<dyn File>,
        from: &str,
        header: &SegmentHeader,
    ) -> Result<Self, Halt> {
        let path = header.path();
        file.write_at(0, &header.to_bytes())?;
        file.sync()?;
        disk.rename(from, &path).map_err(Halt::for_space)?;
        disk.sync_dir(DIRECTORY)?;
        Ok(Self { sequence: header.sequence, path, file })
    }
}

/// The sequence number in a segment's file name, None where it is not one.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    let (sequence, index) = name.strip_suffix(".log")?.split_once('-')?;
    let digits = |text: &str| text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(sequence) && digits(index)).then(|| sequence.parse().ok())?
}

fn checksum(fixed: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(fixed);
    hasher.update(body);
    hasher.finalize()
}

/// Makes the checksum of a header right again, for tests that change it.
#[cfg(test)]
pub(super) fn renew_checksum(bytes: &mut [u8]) {
    let length = number_u32(bytes, 12).expect("a segment has a header") as usize;
    let checksum = checksum(&bytes[8..16], &bytes[BODY_AT..BODY_AT + length]);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
}

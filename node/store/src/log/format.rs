//! The bytes of a batch and of its records.
//!
//! ```text
//! batch    magic "CBAT" | checksum u32 | number u64 | body length u32 | record count u32 | body
//! body     record, record, …, zeros up to a multiple of 8
//! record   body length u32 | checksum u32 | kind u8 | body
//! kind 1   conclave.v1.Entry        kind 3   conclave.v1.LogId: purged through
//! kind 2   Truncated: the last kept kind 4   conclave.v1.Vote
//! ```
//!
//! Numbers are little-endian. A checksum is CRC-32 over the segment's sequence number, the offset
//! in the segment where the batch or record begins, and everything after the checksum (of a batch:
//! of its header), so bytes that the disk put in another place are not valid there.

use bytes::Bytes;
use prost::Message;

use crate::v1::LogId;

const BATCH_MAGIC: [u8; 4] = *b"CBAT";
pub(super) const BATCH_HEADER_BYTES: usize = 24;
pub(super) const RECORD_HEADER_BYTES: usize = 9;
/// Batches begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// Memory that an empty batch keeps at most: enough for any group.
const KEPT_BYTES_MAX: usize = 2 * super::GROUP_BYTES_MAX;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Entry = 1,
    Truncated = 2,
    Purged = 3,
    Vote = 4,
}

/// Every entry after `last` was dropped.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Truncated {
    #[prost(message, optional, tag = "1")]
    pub(super) last: Option<LogId>,
}

impl Kind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Entry, Self::Truncated, Self::Purged, Self::Vote]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A batch under construction for a place in a segment.
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u64,
    offset: u64,
    count: u32,
}

/// Where a record stands in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Batch {
    /// An empty batch for a place in a segment.
    pub(super) fn begin(sequence: u64, offset: u64) -> Self {
        let mut batch = Self { bytes: Vec::new(), sequence, offset, count: 0 };
        batch.begin_anew(sequence, offset);
        batch
    }

    /// Empties it for another place. Its memory is kept, within a bound, to spare allocations.
    pub(super) fn begin_anew(&mut self, sequence: u64, offset: u64) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.bytes.resize(BATCH_HEADER_BYTES, 0);
        self.sequence = sequence;
        self.offset = offset;
        self.count = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its bytes so far, padding included.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().next_multiple_of(ALIGNMENT)
    }

    pub(super) fn put(&mut self, kind: Kind, message: &impl Message) -> Extent {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        message.encode(&mut self.bytes).expect("a vector grows as needed");
        let from = self.offset + start as u64;
        let record = &mut self.bytes[start..];
        let length = u32::try_from(record.len() - RECORD_HEADER_BYTES)
            .expect("the queue refuses records above its bound");
        record[..4].copy_from_slice(&length.to_le_bytes());
        record[8] = kind as u8;
        let checksum = record_checksum(self.sequence, from, record);
        record[4..8].copy_from_slice(&checksum.to_le_bytes());
        self.count += 1;
        Extent { from: narrow(from), to: narrow(self.offset + self.bytes.len() as u64) }
    }

    /// Completes the header and the padding.
    pub(super) fn finish(&mut self, number: u64) -> &[u8] {
        self.bytes.resize(self.len(), 0);
        let body = u32::try_from(self.bytes.len() - BATCH_HEADER_BYTES)
            .expect("a batch fits in a segment");
        let header = &mut self.bytes[..BATCH_HEADER_BYTES];
        header[..4].copy_from_slice(&BATCH_MAGIC);
        header[8..16].copy_from_slice(&number.to_le_bytes());
        header[16..20].copy_from_slice(&body.to_le_bytes());
        header[20..24].copy_from_slice(&self.count.to_le_bytes());
        let checksum = checksum(self.sequence, self.offset, &[&header[8..]]);
        header[4..8].copy_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }
}

/// A batch read back; every checksum held.
pub(super) struct ReadBatch<'a> {
    pub(super) number: u64,
    pub(super) records: Vec<ReadRecord<'a>>,
    /// Offset of the first byte after it.
    pub(super) end: usize,
}

pub(super) struct ReadRecord<'a> {
    pub(super) kind: u8,
    pub(super) body: &'a [u8],
    pub(super) extent: Extent,
}

impl<'a> ReadBatch<'a> {
    /// Reads the batch at `offset` of a whole segment. None where there is no valid one.
    pub(super) fn parse(segment: &'a [u8], sequence: u64, offset: usize) -> Option<Self> {
        let header = segment.get(offset..offset.checked_add(BATCH_HEADER_BYTES)?)?;
        if header[..4] != BATCH_MAGIC
            || number_u32(header, 4)? != checksum(sequence, offset as u64, &[&header[8..]])
        {
            return None;
        }
        let number = u64::from_le_bytes(header.get(8..16)?.try_into().ok()?);
        let (length, count) = (number_u32(header, 16)? as usize, number_u32(header, 20)?);
        let mut at = offset + BATCH_HEADER_BYTES;
        let end = at.checked_add(length).filter(|end| *end <= segment.len())?;
        let mut records = Vec::new();
        for _ in 0..count {
            let record = parse_record(segment.get(..end)?, sequence, at)?;
            at = record.extent.to as usize;
            records.push(record);
        }
        (at.next_multiple_of(ALIGNMENT) == end).then_some(Self { number, records, end })
    }
}

/// Whether bytes that are about to be written are a batch of votes and nothing else. For disks of
/// tests, which treat the sync of a vote apart.
pub(crate) fn is_votes_only(batch: &[u8]) -> bool {
    let mut at = BATCH_HEADER_BYTES;
    let Some(count) = number_u32(batch, 20) else { return false };
    if !batch.starts_with(&BATCH_MAGIC) || count == 0 {
        return false;
    }
    for _ in 0..count {
        let Some(length) = number_u32(batch, at) else { return false };
        if batch.get(at + 8) != Some(&(Kind::Vote as u8)) {
            return false;
        }
        at = at.saturating_add(RECORD_HEADER_BYTES).saturating_add(length as usize);
    }
    true
}

/// Finds a whole valid batch newer than `number` at or after `offset`.
pub(super) fn find_later_batch(
    segment: &[u8],
    sequence: u64,
    offset: usize,
    number: u64,
) -> Option<u64> {
    (offset.next_multiple_of(ALIGNMENT)..segment.len())
        .step_by(ALIGNMENT)
        .filter(|at| segment[*at..].starts_with(&BATCH_MAGIC))
        .filter_map(|at| ReadBatch::parse(segment, sequence, at))
        .map(|batch| batch.number)
        .find(|found| *found > number)
}

/// The body of the entry record that begins at `offset`, out of `bytes`, which begin at `base`.
pub(super) fn entry_body(bytes: &Bytes, base: u32, sequence: u64, offset: u32) -> Option<Bytes> {
    let start = offset.checked_sub(base)? as usize;
    let length = number_u32(bytes.get(start..)?, 0)? as usize;
    let end = start.checked_add(RECORD_HEADER_BYTES)?.checked_add(length)?;
    let record = bytes.get(start..end)?;
    let valid = number_u32(record, 4)? == record_checksum(sequence, u64::from(offset), record);
    (valid && record[8] == Kind::Entry as u8).then(|| bytes.slice(start + RECORD_HEADER_BYTES..end))
}

fn parse_record(batch: &[u8], sequence: u64, at: usize) -> Option<ReadRecord<'_>> {
    let length = number_u32(batch.get(at..)?, 0)? as usize;
    let end = at.checked_add(RECORD_HEADER_BYTES)?.checked_add(length)?;
    let record = batch.get(at..end)?;
    if number_u32(record, 4)? != record_checksum(sequence, at as u64, record) {
        return None;
    }
    let extent = Extent { from: u32::try_from(at).ok()?, to: u32::try_from(end).ok()? };
    Some(ReadRecord { kind: record[8], body: &record[RECORD_HEADER_BYTES..], extent })
}

fn record_checksum(sequence: u64, offset: u64, record: &[u8]) -> u32 {
    checksum(sequence, offset, &[&record[..4], &record[8..]])
}

/// CRC-32 over a place and `parts`.
pub(super) fn checksum(sequence: u64, offset: u64, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

pub(super) fn number_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn narrow(offset: u64) -> u32 {
    u32::try_from(offset).expect("a segment is shorter than 4 GiB")
}

//! The mark: what was synced last, in a file that itself is synced only where a segment begins.
//!
//! ```text
//! offset 0 and 512, alternating   "CMRK" | checksum u32 | body length u32 | body
//! ```
//!
//! It is written after each sync of the log and before anybody hears of it. Within one boot of the
//! machine it is exact, because the page cache outlives the process. After a power cut it may be
//! older, never newer than the log, and never older than the beginning of the newest segment: then
//! it is synced, so that no segment can go missing unnoticed. There are two slots, so that a write
//! torn by a power cut leaves the one before.

use std::io;
use std::sync::Arc;

use prost::Message;

use super::format::number_u32;
use super::{DIRECTORY, LogError, damaged};
use crate::disk::{Disk, File, Open};
use crate::v1::{LogId, Vote};

pub(super) const PATH: &str = "log/mark";
const MAGIC: [u8; 4] = *b"CMRK";
const SLOT_BYTES: usize = 512;
const BODY_AT: usize = 12;

/// What the mark says.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Mark {
    /// Counts the writes of the mark; the higher of the two slots holds.
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    /// The newest batch that was synced.
    #[prost(uint64, tag = "2")]
    pub(super) batch: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) last: Option<LogId>,
    #[prost(message, optional, tag = "4")]
    pub(super) vote: Option<Vote>,
    /// The boot of the machine in which it was written.
    #[prost(bytes = "vec", tag = "5")]
    pub(super) boot_id: Vec<u8>,
    /// The format of the mark; absent in the first.
    #[prost(uint32, tag = "6")]
    pub(super) format: u32,
    /// The newest segment's number; absent in marks of before it was noted.
    #[prost(uint64, tag = "7")]
    pub(super) segment: u64,
}

/// The mark file, open for writing.
pub(super) struct MarkFile {
    file: Arc<dyn File>,
    sequence: u64,
}

impl MarkFile {
    /// Makes the file with a mark of nothing, durably.
    pub(super) fn create(disk: &dyn Disk, boot_id: &[u8]) -> io::Result<Self> {
        let file = disk.open(PATH, Open::Any)?;
        file.set_len(0)?;
        file.allocate(2 * SLOT_BYTES as u64)?;
        let mut mark = Self { file, sequence: 0 };
        mark.write(Mark { boot_id: boot_id.to_vec(), ..Mark::default() })?;
        mark.file.sync()?;
        disk.sync_dir(DIRECTORY)?;
        Ok(mark)
    }

    /// Opens the file and reads the newer valid slot. None where there is no file, or one that was
    /// never completed.
    ///
    /// # Errors
    /// [`LogError::Damaged`] where a newer program wrote it; the operating system's.
    pub(super) fn open(disk: &dyn Disk) -> Result<Option<(Self, Mark)>, LogError> {
        let file = match disk.open(PATH, Open::Existing) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = [0; 2 * SLOT_BYTES];
        file.read_at(0, &mut bytes)?;
        let marks = bytes.chunks(SLOT_BYTES).filter_map(parse);
        let newest = marks.max_by_key(|mark| mark.sequence);
        if let Some(format) = newest.as_ref().map(|mark| mark.format).filter(|found| *found > 0) {
            let what = format!(
                "it has format {format}, which this program does not know: start the newer program that wrote it"
            );
            return Err(LogError::Damaged { file: PATH.to_owned(), what });
        }
        Ok(newest.map(|mark| (Self { file, sequence: mark.sequence }, mark)))
    }

    /// Writes the next mark over the older slot.
    pub(super) fn write(&mut self, mark: Mark) -> io::Result<()> {
        self.sequence += 1;
        let slot = self.sequence % 2 * SLOT_BYTES as u64;
        self.file.write_at(slot, &to_bytes(&Mark { sequence: self.sequence, ..mark }))
    }

    /// Makes the last mark that was written outlive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// What to say where a log exists and its mark does not.
pub(super) fn missing() -> LogError {
    damaged(PATH, "it is missing or not valid, so nobody knows what was acknowledged")
}

fn to_bytes(mark: &Mark) -> Vec<u8> {
    let body = mark.encode_to_vec();
    let length = u32::try_from(body.len()).expect("a mark is short").to_le_bytes();
    let mut bytes = vec![0; SLOT_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&checksum(&length, &body).to_le_bytes());
    bytes[8..BODY_AT].copy_from_slice(&length);
    bytes[BODY_AT..BODY_AT + body.len()].copy_from_slice(&body);
    bytes
}

fn parse(slot: &[u8]) -> Option<Mark> {
    let length = slot.get(8..BODY_AT)?;
    let body = slot.get(BODY_AT..BODY_AT.checked_add(number_u32(slot, 8)? as usize)?)?;
    let valid = slot[..4] == MAGIC && number_u32(slot, 4)? == checksum(length, body);
    if valid { Mark::decode(body).ok() } else { None }
}

fn checksum(length: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(body);
    hasher.finalize()
}

/// Writes the next mark as a program would that knows another format, for tests.
#[cfg(test)]
pub(super) fn write_format(disk: &dyn Disk, format: u32) {
    let (mut file, mark) = MarkFile::open(disk).unwrap().unwrap();
    file.write(Mark { format, ..mark }).unwrap();
}

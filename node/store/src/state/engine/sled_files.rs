//! Reads sled's files without sled, to see what lies on the disk.
//!
//! sled answers from its cache for as long as the process lives, so a bit that flips in its files
//! shows only at the next start. Its log file is made of segments whose messages carry checksums:
//!
//! ```text
//! segment  crc32 u32 | lsn i64 | stable lsn i64 | messages …       (half a megabyte)
//! message  crc32 u32 | kind u8 | length | segment number | page | body
//! ```
//!
//! Numbers are little-endian, those of a message's header variable in length; checksums and the
//! header's sequence numbers are stored inverted. A segment is appended to until it is full, then
//! it stays as it is until it is used anew with a higher number. From this follow the rules that
//! damage breaks: a segment does not go back to an older number and its good messages do not
//! become fewer; one whose end was stable when a later segment began is good to its end.
//!
//! sled writes the parts of a segment in any order, its header last perhaps. So what looks wrong is
//! looked at again after sled was asked to write all that it holds back; only what is still
//! wrong, and the same twice, is damage.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{Advice, fadvise};

use super::Verified;
use super::sled::SEGMENT_BYTES;

/// The files of one database.
pub(super) struct SledFiles {
    directory: PathBuf,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Where the next segment to look at begins.
    offset: u64,
    /// What was there at the last look, by offset.
    segments: BTreeMap<u64, Segment>,
    /// Everything up to here was on the disk when some segment began.
    stable_lsn: i64,
    /// Checksums of the small files, which never change.
    small: BTreeMap<PathBuf, u32>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Segment {
    lsn: i64,
    /// Bytes up to the end of the last good message.
    good: usize,
    whole: bool,
}

/// How segments are read.
struct Look<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    settle: &'a dyn Fn() -> io::Result<()>,
}

impl Look<'_> {
    /// Reads as much of a segment as there is, not from what the operating system remembers.
    fn read(&mut self, offset: u64) -> io::Result<&[u8]> {
        let length = std::num::NonZeroU64::new(SEGMENT_BYTES as u64);
        // A file system that cannot do it reads from memory, as without the hint.
        let _ = fadvise(self.file, offset, length, Advice::DontNeed);
        let mut got = 0;
        while got < SEGMENT_BYTES {
            match self.file.read_at(&mut self.buffer[got..], offset + got as u64)? {
                0 => break,
                more => got += more,
            }
        }
        let _ = fadvise(self.file, offset, length, Advice::DontNeed);
        Ok(&self.buffer[..got])
    }
}

impl SledFiles {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), progress: Mutex::default() }
    }

    /// Checks the next segments, `bytes_max` or one at least; after the last one the small files.
    /// `settle` returns once everything that sled was given before is in its files.
    pub(super) fn verify(
        &self,
        bytes_max: usize,
        settle: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<Verified> {
        let mut progress = self.progress();
        let file = match File::open(self.directory.join(LOG_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Verified::Damaged("the engine's file has gone".into()));
            }
            Err(error) => return Err(error),
        };
        let mut look = Look { file: &file, buffer: vec![0; SEGMENT_BYTES], settle };
        for _ in 0..(bytes_max / SEGMENT_BYTES).max(1) {
            let length = file.metadata()?.len();
            if progress.offset >= length {
                // sled cuts free segments off.
                progress.segments.split_off(&length);
                progress.offset = 0;
                return self.verify_small(&mut progress);
            }
            if let Some(damaged) = progress.take(&mut look)? {
                return Ok(damaged);
            }
        }
        Ok(Verified::More)
    }

    /// sled never rewrites a snapshot of its page table or its settings under the same name.
    fn verify_small(&self, progress: &mut Progress) -> io::Result<Verified> {
        let mut small = BTreeMap::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_snapshot = name.starts_with(SNAPSHOT_PREFIX)
                && path.extension().is_none_or(|end| end != "generating");
            if name != SETTINGS_FILE && !is_snapshot {
                continue;
            }
            let Some(bytes) = read_small(&path)? else { continue };
            let checksum = crc32fast::hash(&bytes);
            if progress.small.get(&path).is_some_and(|before| *before != checksum) {
                return Ok(Verified::Damaged(format!("the engine's file {name} has changed")));
            }
            small.insert(path, checksum);
        }
        progress.small = small;
        Ok(Verified::Whole)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("no reader of the engine's files panics")
    }
}

impl Progress {
    /// Judges the segment at `offset` and moves on.
    fn take(&mut self, look: &mut Look<'_>) -> io::Result<Option<Verified>> {
        let mut before = None;
        for _ in 0..LOOKS_MAX {
            let bytes = look.read(self.offset)?;
            let Some(what) = self.judge(bytes) else { break };
            let checksum = crc32fast::hash(bytes);
            if before == Some(checksum) {
                let what = format!("the engine's segment at {}: {what}", self.offset);
                return Ok(Some(Verified::Damaged(what)));
            }
            before = Some(checksum);
            (look.settle)()?;
        }
        self.offset += SEGMENT_BYTES as u64;
        Ok(None)
    }

    /// What is wrong with a segment; one that is good is remembered.
    fn judge(&mut self, bytes: &[u8]) -> Option<&'static str> {
        if bytes.iter().all(|byte| *byte == 0) {
            // Free: sled cuts free segments off the file on several threads, so a later cut may
            // make the file longer again.
            self.segments.remove(&self.offset);
            return None;
        }
        let before = self.segments.get(&self.offset).copied();
        let (now, stable_lsn) = parse(bytes).unzip();
        self.stable_lsn = self.stable_lsn.max(stable_lsn.unwrap_or(0));
        let objection = self.objection(before, now);
        if objection.is_none()
            && let Some(now) = now
        {
            self.segments.insert(self.offset, now);
        }
        objection
    }

    fn objection(&self, before: Option<Segment>, now: Option<Segment>) -> Option<&'static str> {
        match (before, now) {
            (None, None) => None,
            (Some(_), None) => Some("its header has gone"),
            (Some(before), Some(now)) if now.lsn < before.lsn => Some("it is an older one"),
            (Some(before), Some(now)) if now.lsn == before.lsn && now.good < before.good => {
                Some("a message has gone")
            }
            (_, Some(now)) => {
                let full = now.lsn.checked_add(SEGMENT_BYTES as i64)? <= self.stable_lsn;
                (full && !now.whole).then_some("a message is not good")
            }
        }
    }
}

/// A segment with a good header, and up to where all was stable when it began.
fn parse(bytes: &[u8]) -> Option<(Segment, i64)> {
    let header = bytes.get(..SEGMENT_HEADER_BYTES)?;
    let crc = u32::from_le_bytes(header[..4].try_into().ok()?);
    if crc32fast::hash(&header[4..]) != crc ^ u32::MAX {
        return None;
    }
    let number =
        |at: usize| Some(i64::from_le_bytes(header[at..at + 8].try_into().ok()?) ^ i64::MAX);
    let (lsn, stable_lsn) = (number(4)?, number(12)?);
    if lsn < 0 || !(lsn as usize).is_multiple_of(SEGMENT_BYTES) {
        return None;
    }
    let (good, whole) = walk(bytes, lsn as u64 / SEGMENT_BYTES as u64);
    Some((Segment { lsn, good, whole }, stable_lsn))
}

/// How far the messages of a segment are good, and whether that is all of it.
fn walk(bytes: &[u8], segment_number: u64) -> (usize, bool) {
    let mut at = SEGMENT_HEADER_BYTES;
    while SEGMENT_BYTES - at >= MESSAGE_HEADER_BYTES_MAX {
        let Some((kind, length)) = message(&bytes[at.min(bytes.len())..], segment_number) else {
            return (at, false);
        };
        at += length;
        if kind == KIND_CAP {
            return (at, true);
        }
    }
    (at, true)
}

/// The kind and the length of the good message that `bytes` begin with.
fn message(bytes: &[u8], segment_number: u64) -> Option<(u8, usize)> {
    let crc = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = *bytes.get(4)?;
    let mut rest = bytes.get(5..)?;
    let length = usize::try_from(number(&mut rest)?).ok()?;
    let segment = number(&mut rest)?;
    let _page = number(&mut rest)?;
    let header = bytes.len() - rest.len();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(rest.get(..length)?);
    hasher.update(&bytes[4..header]);
    let good = hasher.finalize() == crc ^ u32::MAX && kind != 0 && segment == segment_number;
    good.then_some((kind, header + length))
}

/// A number of variable length.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let (value, length) = match *first {
        0..=240 => (u64::from(*first), 0),
        241..=248 => (240 + 256 * (u64::from(*first) - 241) + u64::from(*rest.first()?), 1),
        249 => (2_288 + 256 * u64::from(*rest.first()?) + u64::from(*rest.get(1)?), 2),
        longer => {
            let length = usize::from(longer) - 247;
            let mut value = [0; 8];
            value[..length].copy_from_slice(rest.get(..length)?);
            (u64::from_le_bytes(value), length)
        }
    };
    *bytes = &rest[length..];
    Some(value)
}

/// None where it has gone meanwhile.
fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks at a segment that seems wrong; one that is different every time is being written.
const LOOKS_MAX: u32 = 4;
const LOG_FILE: &str = "db";
const SETTINGS_FILE: &str = "conf";
const SNAPSHOT_PREFIX: &str = "snap.";
const SEGMENT_HEADER_BYTES: usize = 20;
const MESSAGE_HEADER_BYTES_MAX: usize = 32;
/// The filling at the end of a segment.
const KIND_CAP: u8 = 2;

//! Where each entry stands on disk: per stretch of consecutive entries in one segment, a table of
//! offsets, four bytes an entry.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::format::{Extent, entry_body};
use super::segment::Segment;
use crate::v1::Entry;

/// All entries that are on disk, as the journal has them.
#[derive(Default)]
pub(super) struct Index {
    /// Consecutive, oldest first.
    runs: VecDeque<Run>,
}

struct Run {
    segment: Arc<Segment>,
    first: u64,
    offsets: Vec<u32>,
    /// End of the last record.
    end: u32,
}

/// A change of the index that a group brought.
pub(super) enum IndexChange {
    Entry {
        segment: Arc<Segment>,
        index: u64,
        extent: Extent,
    },
    /// Entries from this index on are gone.
    Truncate(u64),
    /// Entries below this index are gone.
    Purge(u64),
}

/// A stretch to read from one segment.
pub(super) struct Piece {
    segment: Arc<Segment>,
    first: u64,
    offsets: Vec<u32>,
    end: u32,
}

impl Index {
    pub(super) fn apply(&mut self, change: IndexChange) {
        match change {
            IndexChange::Entry { segment, index, extent } => self.push(segment, index, extent),
            IndexChange::Truncate(from) => self.truncate(from),
            IndexChange::Purge(below) => {
                while self.runs.front().is_some_and(|run| run.next() <= below) {
                    self.runs.pop_front();
                }
            }
        }
    }

    /// Whether it knows where every entry of `range` is, and none after it.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        if range.is_empty() {
            return true;
        }
        let consecutive =
            self.runs.iter().zip(self.runs.iter().skip(1)).all(|(a, b)| a.next() == b.first);
        let begins = self.runs.front().is_some_and(|run| run.first <= range.start);
        let ends = self.runs.back().is_some_and(|run| run.next() == range.end);
        consecutive && begins && ends
    }

    /// The oldest segment that holds an entry.
    pub(super) fn oldest_segment(&self) -> Option<u64> {
        self.runs.iter().map(|run| run.segment.sequence).min()
    }

    /// What to read for `range`: stops after `bytes_max`, but holds one entry at least. Returns
    /// the bytes it takes too.
    pub(super) fn plan(&self, range: Range<u64>, bytes_max: usize) -> (Vec<Piece>, usize) {
        let (mut pieces, mut bytes, mut next) = (Vec::new(), 0, range.start);
        let start = self.runs.partition_point(|run| run.next() <= range.start);
        for run in self.runs.range(start..) {
            let first = pieces.is_empty();
            if next >= range.end || (bytes >= bytes_max && !first) || run.first > next {
                break;
            }
            let piece = run.piece(next..range.end, bytes_max - bytes, first);
            if piece.offsets.is_empty() {
                break;
            }
            next = piece.next();
            bytes += piece.bytes();
            pieces.push(piece);
        }
        (pieces, bytes)
    }

    fn push(&mut self, segment: Arc<Segment>, index: u64, extent: Extent) {
        if let Some(run) = self.runs.back_mut()
            && run.segment.sequence == segment.sequence
            && run.next() == index
        {
            run.offsets.push(extent.from);
            run.end = extent.to;
            return;
        }
        self.runs.push_back(Run {
            segment,
            first: index,
            offsets: vec![extent.from],
            end: extent.to,
        });
    }

    fn truncate(&mut self, from: u64) {
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut()
            && run.next() > from
        {
            let kept = usize::try_from(from - run.first).expect("less than the table's length");
            run.end = run.offsets[kept];
            run.offsets.truncate(kept);
        }
    }
}

impl Run {
    fn next(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }

    /// The part of `range` in this run that fits in `bytes_max`; with `at_least_one`, not empty.
    fn piece(&self, range: Range<u64>, bytes_max: usize, at_least_one: bool) -> Piece {
        let from = usize::try_from(range.start - self.first).expect("inside the table");
        let to =
            usize::try_from(range.end.min(self.next()) - self.first).expect("inside the table");
        let begin = self.offsets[from] as usize;
        let fits = |last: &usize| self.end_of(*last) as usize - begin <= bytes_max;
        let count = (from..to).take_while(fits).count();
        let count = if at_least_one { count.max(1) } else { count };
        let offsets = self.offsets[from..from + count].to_vec();
        let end = if count == 0 { self.offsets[from] } else { self.end_of(from + count - 1) };
        Piece { segment: Arc::clone(&self.segment), first: range.start, offsets, end }
    }

    /// Where the record at `place` ends at the latest.
    fn end_of(&self, place: usize) -> u32 {
        self.offsets.get(place + 1).copied().unwrap_or(self.end)
    }
}

impl Piece {
    pub(super) fn next(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }

    fn bytes(&self) -> usize {
        self.offsets.first().map_or(0, |first| (self.end - first) as usize)
    }

    /// Reads the entries with one read of the file. Their payloads share its bytes.
    pub(super) fn read_into(&self, entries: &mut Vec<Entry>) -> io::Result<()> {
        let Some(base) = self.offsets.first().copied() else { return Ok(()) };
        let mut buffer = vec![0; self.bytes()];
        let read = self.segment.file.read_at(u64::from(base), &mut buffer)?;
        buffer.truncate(read);
        let bytes = Bytes::from(buffer);
        for (index, offset) in (self.first..).zip(&self.offsets) {
            let entry = entry_body(&bytes, base, self.segment.sequence, *offset)
                .and_then(|body| Entry::decode(body).ok())
                .filter(|entry| entry.id.is_some_and(|id| id.index == index))
                .ok_or_else(|| self.damage(index))?;
            entries.push(entry);
        }
        Ok(())
    }

    fn damage(&self, index: u64) -> io::Error {
        let what = format!(
            "{} is damaged: entry {index} does not read back: {}",
            self.segment.path,
            super::WAY_OUT
        );
        io::Error::new(io::ErrorKind::InvalidData, what)
    }
}

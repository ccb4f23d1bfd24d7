//! The journal on disk, open for writing at its end.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use prost::Message;

use super::ahead::{Ahead, NEXT_PATH};
use super::figures::LogEvent;
use super::format::{
    ALIGNMENT, BATCH_HEADER_BYTES, Batch, Extent, Kind, RECORD_HEADER_BYTES, Truncated,
};
use super::group::{Group, Halt};
use super::index::IndexChange;
use super::mark::{Mark, MarkFile};
use super::segment::{BATCHES_AT, Segment, SegmentHeader};
use super::shared::{Committed, Operation};
use super::standing::{Standing, Step};
use crate::disk::Disk;

/// A group that is longer becomes several batches.
const BATCH_BYTES_MAX: usize = 8 << 20;

type Observer<'a> = &'a dyn Fn(LogEvent);

/// The writing end. After [`Halt::Failed`] it must not be used again.
pub(super) struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) boot_id: Vec<u8>,
    pub(super) ahead: Ahead,
    pub(super) mark: MarkFile,
    /// Numbers and paths, oldest first.
    pub(super) closed: VecDeque<(u64, String)>,
    pub(super) active: Arc<Segment>,
    /// Length of the active segment.
    pub(super) length: u64,
    /// Where the next batch begins.
    pub(super) end: u64,
    pub(super) last_batch: u64,
    pub(super) standing: Standing,
    /// What is not written yet; begins at `end`.
    pub(super) batch: Batch,
}

impl Journal {
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Makes the rest of a group durable, in order.
    pub(super) fn commit(&mut self, group: &mut Group, observer: Observer<'_>) -> Result<(), Halt> {
        while self.put_next(group, observer)? {}
        let committed = &mut group.committed;
        if !self.batch.is_empty() {
            self.flush(committed, observer)?;
        }
        committed.segments = self.closed.len() as u64 + 1;
        committed.last = self.standing.last;
        Ok(())
    }

    /// Removes segments older than `oldest`, the oldest one that holds an entry (None: none does).
    pub(super) fn remove_before(&mut self, oldest: Option<u64>) {
        let oldest = oldest.unwrap_or(self.active.sequence);
        let mut paths = Vec::new();
        while let Some((_, path)) = self.closed.pop_front_if(|(sequence, _)| *sequence < oldest) {
            paths.push(path);
        }
        if !paths.is_empty() {
            self.ahead.remove(paths);
        }
    }

    pub(super) fn start_thread(&mut self) -> io::Result<()> {
        self.ahead.start_thread()
    }

    pub(super) fn stop_thread(&mut self) {
        self.ahead.stop_thread();
    }

    /// Says what is synced now.
    pub(super) fn write_mark(&mut self) -> io::Result<()> {
        self.mark.write(Mark {
            batch: self.last_batch,
            last: self.standing.last,
            vote: self.standing.vote,
            boot_id: self.boot_id.clone(),
            segment: self.active.sequence,
            ..Mark::default()
        })
    }

    /// Puts the group's next operation; false where all are.
    fn put_next(&mut self, group: &mut Group, observer: Observer<'_>) -> Result<bool, Halt> {
        let Group { queued, committed, operations, entries } = group;
        let Some(next) = queued.get(*operations) else { return Ok(false) };
        self.put_operation(&next.operation, entries, committed, observer)?;
        *operations += 1;
        *entries = 0;
        Ok(true)
    }

    /// Puts an operation; of an append, what follows its first `entries`.
    fn put_operation(
        &mut self,
        operation: &Operation,
        entries: &mut usize,
        committed: &mut Committed,
        observer: Observer<'_>,
    ) -> Result<(), Halt> {
        match operation {
            Operation::Append(all) => {
                while let Some(entry) = all.get(*entries) {
                    let extent = self.put(Kind::Entry, entry, committed, observer)?;
                    let id = entry.id.expect("the queue takes entries with an id only");
                    self.standing.apply(&Step::Entry(id));
                    let segment = Arc::clone(&self.active);
                    let change = IndexChange::Entry { segment, index: id.index, extent };
                    committed.changes.push(change);
                    committed.entries += 1;
                    *entries += 1;
                }
            }
            Operation::Vote(vote) => {
                self.put(Kind::Vote, vote, committed, observer)?;
                self.standing.apply(&Step::Vote(*vote));
            }
            Operation::Truncate(last) => {
                let record = Truncated { last: *last };
                self.put(Kind::Truncated, &record, committed, observer)?;
                self.standing.apply(&Step::Truncate(*last));
                committed.changes.push(IndexChange::Truncate(self.standing.next_index()));
            }
            Operation::Purge(through) => {
                self.put(Kind::Purged, through, committed, observer)?;
                self.standing.apply(&Step::Purge(*through));
                committed.changes.push(IndexChange::Purge(self.standing.first_kept()));
            }
            Operation::Refuse(_) => {}
        }
        Ok(())
    }

    /// Puts a record into the batch, or into a new one where it does not fit. Where there is no
    /// space for a new segment, nothing of the record was put and all before it is on disk.
    fn put(
        &mut self,
        kind: Kind,
        message: &impl Message,
        committed: &mut Committed,
        observer: Observer<'_>,
    ) -> Result<Extent, Halt> {
        let bytes = (RECORD_HEADER_BYTES + message.encoded_len()).next_multiple_of(ALIGNMENT);
        let fits = self.has_room(bytes) && self.batch.len() + bytes <= BATCH_BYTES_MAX;
        if !fits && !self.batch.is_empty() {
            self.flush(committed, observer)?;
        }
        if !self.has_room(bytes) {
            self.rotate(BATCH_HEADER_BYTES + bytes, observer)?;
        }
        Ok(self.batch.put(kind, message))
    }

    /// Writes and syncs the batch and begins the next.
    fn flush(&mut self, committed: &mut Committed, observer: Observer<'_>) -> io::Result<()> {
        let number = self.last_batch + 1;
        let bytes = self.batch.finish(number);
        observer(LogEvent::WriteBegins { bytes: bytes.len() });
        self.active.file.write_at(self.end, bytes)?;
        observer(LogEvent::SyncBegins);
        let synced = self.active.file.sync();
        observer(LogEvent::SyncEnded { succeeded: synced.is_ok() });
        synced?;
        committed.syncs += 1;
        committed.bytes += bytes.len() as u64;
        self.end += bytes.len() as u64;
        self.last_batch = number;
        self.batch.begin_anew(self.active.sequence, self.end);
        self.write_mark()
    }

    /// Goes on in a new segment that has room for `bytes` at least. **The batch is empty.**
    fn rotate(&mut self, bytes: usize, observer: Observer<'_>) -> Result<(), Halt> {
        let file = self.ahead.take((BATCHES_AT + bytes) as u64).map_err(Halt::for_space)?;
        let header = SegmentHeader {
            sequence: self.active.sequence + 1,
            first_batch: self.last_batch + 1,
            standing: Some(self.standing),
        };
        let length = file.len()?;
        let segment = Segment::install(self.disk.as_ref(), file, NEXT_PATH, &header)?;
        self.length = length;
        let old = std::mem::replace(&mut self.active, Arc::new(segment));
        self.closed.push_back((old.sequence, old.path.clone()));
        self.end = BATCHES_AT as u64;
        self.batch.begin_anew(self.active.sequence, self.end);
        // Before anything in it is acknowledged: without it the log would end in one piece.
        self.write_mark()?;
        self.mark.sync()?;
        observer(LogEvent::SegmentBegan { sequence: header.sequence });
        Ok(self.ahead.begin_next()?)
    }

    /// Whether so many bytes more fit in the segment.
    fn has_room(&self, bytes: usize) -> bool {
        self.end.saturating_add((self.batch.len() + bytes) as u64) <= self.length
    }
}

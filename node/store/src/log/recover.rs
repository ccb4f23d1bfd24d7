//! Opens a journal: decides what of it holds. The rule is in the documentation of the log.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use prost::Message;

use super::ahead::{Ahead, NEXT_PATH};
use super::format::{Batch, Kind, ReadBatch, ReadRecord, Truncated, find_later_batch};
use super::group::Halt;
use super::index::{Index, IndexChange};
use super::journal::Journal;
use super::mark::{self, Mark, MarkFile};
use super::segment::{BATCHES_AT, Segment, SegmentHeader, sequence_of};
use super::standing::{Standing, Step};
use super::{DIRECTORY, LogConfig, LogError, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, damaged};
use crate::disk::{Disk, File, Open};
use crate::v1::{LogId, Vote};

/// Reads the journal, or begins one where there is none.
pub(super) fn recover(
    disk: Arc<dyn Disk>,
    config: &LogConfig,
) -> Result<(Journal, Index), LogError> {
    disk.create_dir(DIRECTORY)?;
    disk.sync_dir("")?;
    let mut sequences: Vec<(u64, String)> = disk
        .list(DIRECTORY)?
        .into_iter()
        .filter_map(|name| Some((sequence_of(&name)?, format!("{DIRECTORY}/{name}"))))
        .collect();
    sequences.sort();
    match (sequences.is_empty(), MarkFile::open(disk.as_ref())?) {
        (false, Some((file, mark))) => resume(disk, config, sequences, file, &mark),
        (false, None) => Err(mark::missing()),
        (true, Some((_, mark))) if mark.batch > 0 => {
            Err(damaged(mark::PATH, "it names a batch, and there is no segment at all"))
        }
        (true, _) => begin(disk, config),
    }
}

/// Begins the first segment. The mark comes first: a segment without it is damage.
fn begin(disk: Arc<dyn Disk>, config: &LogConfig) -> Result<(Journal, Index), LogError> {
    let mark = MarkFile::create(disk.as_ref(), &config.boot_id)?;
    let mut ahead = new_ahead(&disk, config);
    let header = SegmentHeader { sequence: 1, first_batch: 1, standing: Some(Standing::default()) };
    let file = ahead.take(0)?;
    let installed = Segment::install(disk.as_ref(), file, NEXT_PATH, &header);
    let active = Arc::new(installed.map_err(|(Halt::Full(error) | Halt::Failed(error))| error)?);
    let journal = Journal {
        boot_id: config.boot_id.to_vec(),
        ahead,
        mark,
        closed: VecDeque::new(),
        length: active.file.len()?,
        end: BATCHES_AT as u64,
        last_batch: 0,
        standing: Standing::default(),
        batch: Batch::begin(active.sequence, BATCHES_AT as u64),
        active,
        disk,
    };
    Ok((journal, Index::default()))
}

fn resume(
    disk: Arc<dyn Disk>,
    config: &LogConfig,
    mut sequences: Vec<(u64, String)>,
    mark_file: MarkFile,
    mark: &Mark,
) -> Result<(Journal, Index), LogError> {
    let leftovers = split_leftovers(&mut sequences)?;
    let same_boot = mark.boot_id == config.boot_id;
    let mut replay = Replay::new(mark);
    let mut newest = None;
    // One buffer for all: two segments at once would be twice the memory.
    let mut bytes = Vec::new();
    for (sequence, path) in &sequences {
        let file = disk.open(path, Open::Existing)?;
        let segment = Arc::new(Segment { sequence: *sequence, path: path.clone(), file });
        read_segment(&segment, &mut bytes)?;
        let last = replay.read(&segment, &bytes)?;
        newest = Some((segment, last));
    }
    let (active, last) = newest.expect("there is a segment");
    replay.check_complete(&active)?;
    let end = last.end;
    let tail = torn_tail(&replay, &active, &bytes, end, same_boot)?;
    bytes[end..end + tail].fill(0);
    let unsynced = if replay.batch > mark.batch { last.start } else { end };
    write_again(active.file.as_ref(), &bytes, unsynced..end + tail)?;
    disk.sync_dir(DIRECTORY)?;
    sequences.pop();
    let mut journal = Journal {
        boot_id: config.boot_id.to_vec(),
        ahead: new_ahead(&disk, config),
        mark: mark_file,
        closed: sequences.into(),
        length: bytes.len() as u64,
        end: end as u64,
        last_batch: replay.batch,
        standing: replay.standing,
        batch: Batch::begin(active.sequence, end as u64),
        active,
        disk,
    };
    journal.write_mark()?;
    journal.ahead.remove(leftovers);
    journal.remove_before(replay.index.oldest_segment());
    Ok((journal, replay.index))
}

fn new_ahead(disk: &Arc<dyn Disk>, config: &LogConfig) -> Ahead {
    let bytes = config.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    Ahead::new(Arc::clone(disk), bytes.next_multiple_of(8))
}

/// Keeps the segments that have no gap up to the newest one. Older ones beyond a gap are what a
/// power cut left of a removal; whether any of them is needed shows at the end of the replay.
fn split_leftovers(sequences: &mut Vec<(u64, String)>) -> Result<Vec<String>, LogError> {
    let pairs = sequences.iter().zip(sequences.iter().skip(1));
    if let Some((_, (_, path))) = pairs.clone().find(|((a, _), (b, _))| a == b) {
        return Err(damaged(path, "another segment has the same number"));
    }
    let gap = pairs.clone().rposition(|((a, _), (b, _))| a.checked_add(1) != Some(*b));
    let kept = sequences.split_off(gap.map_or(0, |place| place + 1));
    Ok(std::mem::replace(sequences, kept).into_iter().map(|(_, path)| path).collect())
}

/// Replaces `bytes` by those of a segment.
fn read_segment(segment: &Segment, bytes: &mut Vec<u8>) -> Result<(), LogError> {
    let length = segment.file.len()?;
    let Some(length) = u32::try_from(length).ok().map(|length| length as usize) else {
        return Err(damaged(&segment.path, "it is longer than any segment"));
    };
    bytes.resize(length, 0);
    let read = segment.file.read_at(0, bytes)?;
    bytes.truncate(read);
    Ok(())
}

/// The sum of the segments read so far.
struct Replay<'a> {
    mark: &'a Mark,
    /// None before the first segment.
    previous: Option<String>,
    batch: u64,
    standing: Standing,
    index: Index,
}

impl<'a> Replay<'a> {
    fn new(mark: &'a Mark) -> Self {
        Self {
            mark,
            previous: None,
            batch: 0,
            standing: Standing::default(),
            index: Index::default(),
        }
    }

    /// Reads the next segment. Returns where its last valid batch stands; its end is where the
    /// next one would begin.
    fn read(&mut self, segment: &Arc<Segment>, bytes: &[u8]) -> Result<Range<usize>, LogError> {
        let header = SegmentHeader::parse(&segment.path, bytes)?;
        self.join(&header)?;
        self.check_mark()?;
        let mut last = BATCHES_AT..BATCHES_AT;
        while let Some(batch) = ReadBatch::parse(bytes, segment.sequence, last.end)
            && batch.number == self.batch + 1
        {
            for record in &batch.records {
                self.apply(segment, record)?;
            }
            self.batch = batch.number;
            last = last.end..batch.end;
            self.check_mark()?;
        }
        Ok(last)
    }

    /// Checks that a segment goes on where the one before ended.
    fn join(&mut self, header: &SegmentHeader) -> Result<(), LogError> {
        let before = header.first_batch.saturating_sub(1);
        match self.previous.replace(header.path()) {
            None => {
                self.batch = before;
                self.standing = header.standing();
            }
            Some(previous) if self.batch != before => {
                let what = format!(
                    "it ends at batch {}, the next segment begins after {before}",
                    self.batch
                );
                return Err(damaged(&previous, what));
            }
            Some(_) if self.standing != header.standing() => {
                return Err(damaged(&header.path(), "its header contradicts the segment before"));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn apply(&mut self, segment: &Arc<Segment>, record: &ReadRecord<'_>) -> Result<(), LogError> {
        let step = parse_step(&segment.path, record)?;
        if let Step::Entry(id) = step
            && !self.standing.accepts(id.index)
        {
            let what = format!("entry {} does not follow the one before", id.index);
            return Err(damaged(&segment.path, what));
        }
        self.standing.apply(&step);
        match step {
            Step::Entry(LogId { index, .. }) => {
                let segment = Arc::clone(segment);
                self.index.apply(IndexChange::Entry { segment, index, extent: record.extent });
            }
            Step::Truncate(_) => {
                self.index.apply(IndexChange::Truncate(self.standing.next_index()));
            }
            Step::Purge(_) => self.index.apply(IndexChange::Purge(self.standing.first_kept())),
            Step::Vote(_) => {}
        }
        Ok(())
    }

    /// At the batch that the mark names, both must say the same.
    fn check_mark(&self) -> Result<(), LogError> {
        let agrees = self.standing.last == self.mark.last && self.standing.vote == self.mark.vote;
        if self.batch == self.mark.batch && !agrees {
            let what = format!("it and the log disagree about batch {}", self.batch);
            return Err(damaged(mark::PATH, what));
        }
        Ok(())
    }

    /// Checks that everything acknowledged is there.
    fn check_complete(&self, newest: &Segment) -> Result<(), LogError> {
        if newest.sequence < self.mark.segment {
            let what = format!("segment {} began after it, and is missing", self.mark.segment);
            return Err(damaged(&newest.path, what));
        }
        if self.batch < self.mark.batch {
            let what = format!(
                "it ends at batch {}, and batch {} was acknowledged",
                self.batch, self.mark.batch
            );
            return Err(damaged(&newest.path, what));
        }
        if !self.index.covers(&self.standing.range()) {
            let what = format!(
                "segments before it are missing, from entry {} on",
                self.standing.range().start
            );
            return Err(damaged(&newest.path, what));
        }
        Ok(())
    }
}

fn parse_step(path: &str, record: &ReadRecord<'_>) -> Result<Step, LogError> {
    /// The part of an entry that the log looks at.
    #[derive(Clone, PartialEq, Message)]
    struct Identified {
        #[prost(message, optional, tag = "1")]
        id: Option<LogId>,
    }

    let garbled = |_| damaged(path, "a record does not decode");
    let Some(kind) = Kind::from_byte(record.kind) else {
        let what = format!(
            "it holds a record of kind {}, which this program does not know: start the newer program that wrote it",
            record.kind
        );
        return Err(LogError::Damaged { file: path.to_owned(), what });
    };
    Ok(match kind {
        Kind::Entry => {
            let entry = Identified::decode(record.body).map_err(garbled)?;
            Step::Entry(entry.id.ok_or_else(|| damaged(path, "an entry has no id"))?)
        }
        Kind::Truncated => Step::Truncate(Truncated::decode(record.body).map_err(garbled)?.last),
        Kind::Purged => Step::Purge(LogId::decode(record.body).map_err(garbled)?),
        Kind::Vote => Step::Vote(Vote::decode(record.body).map_err(garbled)?),
    })
}

/// The length of the torn tail after `end`, 0 where only zeros follow.
fn torn_tail(
    replay: &Replay<'_>,
    newest: &Segment,
    bytes: &[u8],
    end: usize,
    same_boot: bool,
) -> Result<usize, LogError> {
    let tail = bytes.get(end..).unwrap_or_default();
    let Some(last) = tail.iter().rposition(|byte| *byte != 0) else { return Ok(0) };
    if let Some(later) = find_later_batch(bytes, newest.sequence, end, replay.batch) {
        let what =
            format!("batch {} is valid and the one after batch {} is not", later, replay.batch);
        return Err(damaged(&newest.path, what));
    }
    if same_boot && replay.batch != replay.mark.batch {
        let what = format!(
            "the batch after batch {} is not valid, and the machine was not restarted since",
            replay.batch
        );
        return Err(damaged(&newest.path, what));
    }
    tracing::warn!(
        file = %newest.path, offset = end, bytes = last + 1,
        "dropped the unfinished end of the log, which nobody was told about"
    );
    Ok(last + 1)
}

/// Writes `range` again and syncs: zeros over what was dropped, and the newest batch where nobody
/// knows whether it was synced. Its process may have died before the sync, or because the sync
/// failed; then the kernel takes the pages for clean, and a sync alone would write nothing.
fn write_again(file: &dyn File, bytes: &[u8], range: Range<usize>) -> io::Result<()> {
    if !range.is_empty() {
        file.write_at(range.start as u64, &bytes[range])?;
    }
    file.sync()
}

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::format::ReadBatch;
use super::segment::BATCHES_AT;
use super::*;
use crate::disk::{Disk, MemoryDisk, Open, RealDisk, read_all};
use crate::v1::entry::Payload;
use crate::v1::{Entry, Vote};

mod damage;
mod model;
mod space;

/// A log on a disk in memory, with its writer driven by hand.
struct Rig {
    disk: MemoryDisk,
    boot: u8,
    log: Log,
    writer: LogWriter,
}

/// What callbacks were told, in order: the operation's number and whether it succeeded.
type Answers = Arc<Mutex<Vec<(usize, bool)>>>;

fn config(boot: u8) -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES_MIN, cache_bytes_max: 3_000, boot_id: [boot; 16] }
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, leader_id: 1, index }
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let command = Bytes::from(vec![(index % 251) as u8 + 1; bytes]);
    Entry { id: Some(id(term, index)), payload: Some(Payload::Command(command)) }
}

fn vote(term: u64) -> Vote {
    Vote { term, node_id: 1, committed: false }
}

fn ignore() -> Done {
    Box::new(|_| {})
}

fn note(answers: &Answers, number: usize) -> Done {
    let answers = Arc::clone(answers);
    Box::new(move |result| answers.lock().unwrap().push((number, result.is_ok())))
}

fn open(disk: &MemoryDisk, boot: u8) -> Result<(Log, LogWriter), LogError> {
    Log::open(Arc::new(disk.clone()), config(boot))
}

impl Rig {
    fn new() -> Self {
        Self::on(MemoryDisk::new(), 1)
    }

    fn on(disk: MemoryDisk, boot: u8) -> Self {
        let (log, writer) = open(&disk, boot).unwrap();
        Self { disk, boot, log, writer }
    }

    /// Ends the process and starts it again.
    fn restart(self) -> Self {
        self.disk.crash();
        Self::on(self.disk, self.boot)
    }

    fn append(&mut self, term: u64, indexes: std::ops::Range<u64>, bytes: usize) {
        self.log.append(indexes.map(|index| entry(term, index, bytes)).collect(), ignore());
        while self.writer.drain() {}
    }

    fn indexes(&self) -> Vec<u64> {
        let range = self.log.state().purged.map_or(0, |purged| purged.index + 1);
        let entries = self.log.read(range..u64::MAX, usize::MAX).unwrap();
        entries.iter().map(|entry| entry.id.unwrap().index).collect()
    }

    fn segments(&self) -> Vec<String> {
        let names = self.disk.list(DIRECTORY).unwrap();
        names.into_iter().filter(|name| name.ends_with(".log")).collect()
    }
}

#[test]
fn entries_are_readable_before_and_durable_after_the_callback() {
    let mut rig = Rig::new();
    let answers = Answers::default();
    rig.log.append(vec![entry(1, 0, 10), entry(1, 1, 10)], note(&answers, 0));
    rig.log.save_vote(vote(4), note(&answers, 1));
    assert_eq!(rig.indexes(), [0, 1]);
    assert_eq!(rig.log.vote(), Some(vote(4)));
    assert!(answers.lock().unwrap().is_empty());
    let before = rig.disk.syncs();
    assert!(rig.writer.drain());
    assert!(!rig.writer.drain());
    assert_eq!(rig.disk.syncs() - before, 1, "one group takes one sync");
    assert_eq!(*answers.lock().unwrap(), [(0, true), (1, true)]);
    rig.disk.power_cut(|| 0);
    let rig = Rig::on(rig.disk, 2);
    assert_eq!((rig.indexes(), rig.log.vote()), (vec![0, 1], Some(vote(4))));
}

#[test]
fn what_no_sync_covered_is_gone_after_a_power_cut() {
    let mut rig = Rig::new();
    rig.append(1, 0..3, 10);
    rig.disk.fail_syncs(true);
    rig.append(1, 3..5, 10);
    rig.disk.fail_syncs(false);
    rig.disk.power_cut(|| 0);
    assert_eq!(Rig::on(rig.disk, 2).indexes(), [0, 1, 2]);
}

#[test]
fn recovery_syncs_what_it_shows() {
    let mut rig = Rig::new();
    rig.disk.fail_syncs(true);
    rig.append(1, 0..3, 10);
    rig.disk.fail_syncs(false);
    // The sync failed and the process died of it: the bytes are there, no later sync covers them.
    let rig = rig.restart();
    assert_eq!(rig.indexes(), [0, 1, 2]);
    rig.disk.power_cut(|| 0);
    assert_eq!(Rig::on(rig.disk, 2).indexes(), [0, 1, 2]);
}

#[test]
fn an_append_that_leaves_a_gap_is_refused_and_changes_nothing() {
    let mut rig = Rig::new();
    rig.append(1, 5..7, 10);
    let answers = Answers::default();
    for (number, bad) in [entry(1, 8, 1), entry(1, 6, 1), Entry::default()].into_iter().enumerate()
    {
        rig.log.append(vec![bad], note(&answers, number));
    }
    rig.log.append(vec![entry(1, 7, 1)], note(&answers, 3));
    rig.writer.drain();
    assert_eq!(*answers.lock().unwrap(), [(0, false), (1, false), (2, false), (3, true)]);
    let found = rig.log.read(5..u64::MAX, usize::MAX).unwrap();
    assert_eq!(found.len(), 3);
    assert!(rig.log.read(4..9, usize::MAX).unwrap().is_empty(), "its start is not stored");
}

#[test]
fn the_last_index_of_all_is_refused() {
    let mut rig = Rig::new();
    let answers = Answers::default();
    rig.log.append(vec![entry(1, u64::MAX, 1)], note(&answers, 0));
    rig.log.append(vec![entry(1, u64::MAX - 1, 1), entry(1, u64::MAX, 1)], note(&answers, 1));
    rig.log.append(vec![entry(1, u64::MAX - 1, 1)], note(&answers, 2));
    rig.writer.drain();
    assert_eq!(*answers.lock().unwrap(), [(0, false), (1, false), (2, true)]);
    assert_eq!(rig.restart().log.state().last, Some(id(1, u64::MAX - 1)));
}

#[test]
fn a_purge_beyond_the_end_lets_the_log_go_on_behind_a_snapshot() {
    let mut rig = Rig::new();
    rig.append(1, 0..3, 10);
    rig.log.purge(id(2, 9), ignore());
    rig.append(2, 10..12, 10);
    let rig = rig.restart();
    assert_eq!(rig.log.state(), LogState { purged: Some(id(2, 9)), last: Some(id(2, 11)) });
    assert_eq!(rig.indexes(), [10, 11]);
}

#[test]
fn segments_without_entries_go_and_the_vote_stays() {
    let mut rig = Rig::new();
    rig.log.save_vote(vote(9), ignore());
    for at in 0..20 {
        rig.append(1, at * 3..at * 3 + 3, 600);
    }
    assert!(rig.segments().len() > 5, "{:?}", rig.segments());
    rig.log.purge(id(1, 57), ignore());
    rig.writer.drain();
    assert!(rig.segments().len() <= 2, "{:?}", rig.segments());
    let mut rig = rig.restart();
    assert_eq!((rig.indexes(), rig.log.vote()), (vec![58, 59], Some(vote(9))));
    rig.log.truncate_after(Some(id(1, 57)), ignore());
    rig.append(2, 58..60, 3_000);
    assert_eq!(rig.restart().indexes(), [58, 59]);
}

#[test]
fn a_record_longer_than_a_segment_gets_one_of_its_own() {
    let mut rig = Rig::new();
    rig.append(1, 0..1, 3 * SEGMENT_BYTES_MIN as usize);
    rig.append(1, 1..3, 100);
    let rig = rig.restart();
    assert_eq!(rig.indexes(), [0, 1, 2]);
    let found = rig.log.read(0..1, 1).unwrap();
    assert_eq!(found, [entry(1, 0, 3 * SEGMENT_BYTES_MIN as usize)]);
}

#[test]
fn reads_stop_at_the_byte_bound_and_return_one_entry_at_least() {
    let mut rig = Rig::new();
    rig.append(1, 0..30, 200);
    for rig in [Rig::on(rig.disk.clone(), 1), rig] {
        for start in [0, 3, 17, 29] {
            for bytes_max in [0, 1, 250, 1_000, 3_000] {
                let found = rig.log.read(start..30, bytes_max).unwrap();
                let bytes: usize = found.iter().map(prost::Message::encoded_len).sum();
                assert!(found.len() == 1 || bytes <= bytes_max, "{bytes} of {bytes_max}");
                let expected: Vec<_> =
                    (start..).take(found.len()).map(|at| entry(1, at, 200)).collect();
                assert!(!found.is_empty() && found == expected);
            }
        }
        assert_eq!(rig.log.read(28..u64::MAX, usize::MAX).unwrap().len(), 2);
        assert!(rig.log.read(30..40, 100).unwrap().is_empty());
        assert!(rig.log.read(5..5, 100).unwrap().is_empty());
    }
}

#[test]
fn entries_in_memory_are_bounded() {
    let mut rig = Rig::new();
    rig.append(1, 0..100, 300);
    assert!(rig.log.figures().cache_bytes <= 3_000);
    rig.log.append((100..130).map(|at| entry(1, at, 300)).collect(), ignore());
    assert!(rig.log.figures().cache_bytes > 9_000, "what is not on disk stays");
    assert_eq!(rig.indexes().len(), 130);
    rig.writer.drain();
    assert!(rig.log.figures().cache_bytes <= 3_000);
    assert_eq!(rig.indexes().len(), 130);
}

#[test]
fn a_failed_sync_fails_its_group_and_everything_later() {
    let mut rig = Rig::new();
    let answers = Answers::default();
    rig.disk.fail_syncs(true);
    rig.log.append(vec![entry(1, 0, 10)], note(&answers, 0));
    rig.log.save_vote(vote(1), note(&answers, 1));
    assert!(rig.writer.drain());
    assert!(rig.writer.has_failed());
    rig.disk.fail_syncs(false);
    rig.log.purge(id(1, 0), note(&answers, 2));
    rig.log.truncate_after(None, note(&answers, 3));
    assert!(!rig.writer.drain());
    assert_eq!(*answers.lock().unwrap(), [(0, false), (1, false), (2, false), (3, false)]);
}

#[test]
fn a_failed_write_fails_the_group() {
    let mut rig = Rig::new();
    let answers = Answers::default();
    rig.disk.fail_writes(true);
    rig.log.append((0..9).map(|at| entry(1, at, 1_000)).collect(), note(&answers, 0));
    rig.writer.drain();
    assert!(rig.writer.has_failed());
    assert_eq!(*answers.lock().unwrap(), [(0, false)]);
}

#[test]
fn what_is_synced_follows_groups_truncations_and_restarts() {
    let mut rig = Rig::new();
    assert_eq!(rig.log.synced(), None);
    rig.append(1, 0..3, 10);
    assert_eq!(rig.log.synced(), Some(id(1, 2)));
    rig.log.append(vec![entry(1, 3, 10), entry(1, 4, 10)], ignore());
    assert_eq!((rig.log.synced(), rig.log.state().last), (Some(id(1, 2)), Some(id(1, 4))));
    while rig.writer.drain() {}
    assert_eq!(rig.log.synced(), Some(id(1, 4)));
    // What is to be dropped does not stand for what takes its place.
    rig.log.truncate_after(Some(id(1, 1)), ignore());
    rig.log.append((2..9).map(|at| entry(2, at, 10)).collect(), ignore());
    assert_eq!(rig.log.synced(), Some(id(1, 1)));
    rig.log.truncate_after(Some(id(2, 5)), ignore());
    assert_eq!(rig.log.synced(), Some(id(1, 1)));
    while rig.writer.drain() {}
    assert_eq!(rig.log.synced(), Some(id(2, 5)));
    rig.log.truncate_after(None, ignore());
    assert_eq!(rig.log.synced(), None);
    while rig.writer.drain() {}
    rig.log.purge(id(3, 20), ignore());
    assert_eq!(rig.log.synced(), None);
    while rig.writer.drain() {}
    assert_eq!(rig.log.synced(), Some(id(3, 20)));
    rig.append(3, 21..25, 10);
    let progress = rig.log.progress();
    assert_eq!((progress.synced, progress.last), (Some(id(3, 24)), Some(id(3, 24))));
    assert_eq!((progress.asked, progress.answered, progress.full), (8, 8, false));
    assert_eq!(rig.restart().log.synced(), Some(id(3, 24)));
}

#[test]
fn each_callback_is_called_once_when_the_writer_or_a_callback_ends_early() {
    let rig = Rig::new();
    let answers = Answers::default();
    rig.log.save_vote(vote(1), note(&answers, 0));
    drop(rig.writer);
    rig.log.save_vote(vote(2), note(&answers, 1));
    assert_eq!(*answers.lock().unwrap(), [(0, false), (1, false)]);

    let mut rig = Rig::new();
    let answers = Answers::default();
    rig.log.save_vote(vote(1), note(&answers, 0));
    rig.log.save_vote(vote(2), Box::new(|_| panic!("a caller's bug")));
    rig.log.save_vote(vote(3), note(&answers, 2));
    let drained = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.writer.drain()));
    assert!(drained.is_err());
    assert_eq!(*answers.lock().unwrap(), [(0, true), (2, false)]);
}

#[test]
fn a_closed_log_takes_nothing_more_and_finishes_what_it_took() {
    let Rig { log, writer, .. } = Rig::new();
    let answers = Answers::default();
    log.save_vote(vote(1), note(&answers, 0));
    log.close();
    log.save_vote(vote(2), note(&answers, 1));
    writer.run();
    assert_eq!(*answers.lock().unwrap(), [(1, false), (0, true)]);
}

#[test]
fn the_waker_and_the_observer_are_called() {
    let mut rig = Rig::new();
    let (woken, seen) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (waker, events) = (Arc::clone(&woken), Arc::clone(&seen));
    rig.writer.set_waker(Arc::new(move || *waker.lock().unwrap() += 1));
    rig.writer.set_observer(Box::new(move |event| events.lock().unwrap().push(event)));
    rig.append(1, 0..2, 10);
    assert_eq!(*woken.lock().unwrap(), 1);
    let seen = seen.lock().unwrap();
    assert!(matches!(
        seen[..],
        [
            LogEvent::WriteBegins { .. },
            LogEvent::SyncBegins,
            LogEvent::SyncEnded { succeeded: true },
            LogEvent::GroupEnded { operations: 1 }
        ]
    ));
    let figures = rig.log.figures();
    assert_eq!((figures.groups, figures.operations, figures.entries, figures.syncs), (1, 1, 2, 1));
}

/// The planted bug is visible: with it, an acknowledged entry is lost.
#[test]
fn a_skipped_fsync_loses_acknowledged_entries() {
    let mut rig = Rig::new();
    rig.append(1, 0..2, 10);
    rig.disk.skip_fsync(true);
    rig.append(1, 2..4, 10);
    rig.disk.power_cut(|| 0);
    assert_eq!(Rig::on(rig.disk, 2).indexes(), [0, 1]);
}

#[test]
fn real_files_and_threads() {
    let place = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(place.path()).unwrap());
    let config = LogConfig { segment_bytes: 64 << 10, ..config(1) };
    let (log, writer) = Log::open(Arc::clone(&disk), config.clone()).unwrap();
    let thread = std::thread::Builder::new().spawn(move || writer.run()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    for index in 0..2_000 {
        let sender = sender.clone();
        let done: Done = Box::new(move |result| sender.send(result.is_ok()).unwrap());
        log.append(vec![entry(1, index, 300)], done);
        if index % 100 == 0 {
            log.purge(id(1, index / 2), ignore());
        }
    }
    assert!((0..2_000).all(|_| receiver.recv().unwrap()));
    log.close();
    thread.join().unwrap();
    let (log, _writer) = Log::open(disk, config).unwrap();
    assert_eq!(log.state(), LogState { purged: Some(id(1, 950)), last: Some(id(1, 1_999)) });
    let found = log.read(951..2_000, usize::MAX).unwrap();
    assert!(found.into_iter().eq((951..2_000).map(|at| entry(1, at, 300))));
}

/// A log that holds one record of each kind.
fn one_of_each() -> Rig {
    let mut rig = Rig::new();
    rig.log.save_vote(Vote { term: 2, node_id: 3, committed: true }, ignore());
    rig.append(2, 0..3, 5);
    rig.log.truncate_after(Some(id(2, 1)), ignore());
    rig.log.purge(id(2, 0), ignore());
    rig.writer.drain();
    rig
}

#[test]
fn the_bytes_of_a_segment_and_a_mark_are_these() {
    let rig = one_of_each();
    let path = format!("{DIRECTORY}/{}", rig.segments()[0]);
    assert_eq!(path, "log/00000000000000000001-00000000000000000000.log");
    crate::golden::check("log_segment.hex", &read_all(&rig.disk, &path).unwrap().unwrap());
    crate::golden::check("log_mark.hex", &read_all(&rig.disk, mark::PATH).unwrap().unwrap());
    // A later segment, whose header has something to say.
    let mut rig = rig;
    rig.append(3, 2..3, 5_000);
    let path = format!("{DIRECTORY}/{}", rig.segments()[1]);
    let bytes = read_all(&rig.disk, &path).unwrap().unwrap();
    crate::golden::check("log_segment_header.hex", &bytes[..BATCHES_AT]);
}

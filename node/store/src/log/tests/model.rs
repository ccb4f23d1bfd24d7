//! Random operations, crashes and power cuts against a model.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    Append {
        entries: u64,
        bytes: usize,
    },
    Vote,
    /// Keeps so many of a thousandth of the entries.
    Truncate(usize),
    Purge(usize),
    PurgeBeyond,
    Drain,
    Read {
        start: usize,
        bytes_max: usize,
    },
    Restart,
    /// Leaves space for so many bytes more, or takes the limit away.
    Space(Option<u64>),
    /// Ends the process after so many syncs of a drain.
    CrashWithin(u64),
    /// Cuts the power after so many syncs of a drain.
    CutWithin(u64, u64),
}

#[derive(Debug, Clone)]
enum Change {
    Entry(Entry),
    Truncate(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
}

/// What a log must say.
#[derive(Debug, Clone, Default, PartialEq)]
struct Content {
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
    vote: Option<Vote>,
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Entry(entry) => {
                self.entries.insert(entry.id.unwrap().index, entry.clone());
            }
            Change::Truncate(last) => {
                self.entries.retain(|index, _| last.is_some_and(|last| *index <= last.index));
            }
            Change::Purge(through) => {
                self.purged = Some(*through);
                self.entries.retain(|index, _| *index > through.index);
            }
            Change::Vote(vote) => self.vote = Some(*vote),
        }
    }

    fn of(changes: &[Change]) -> Self {
        let mut content = Self::default();
        changes.iter().for_each(|change| content.apply(change));
        content
    }

    fn last(&self) -> Option<LogId> {
        self.entries.values().last().map_or(self.purged, |entry| entry.id)
    }

    fn of_log(log: &Log) -> Self {
        let state = log.state();
        let first = state.purged.map_or(0, |purged| purged.index + 1);
        let found = log.read(first..u64::MAX, usize::MAX).unwrap();
        let entries = found.into_iter().map(|entry| (entry.id.unwrap().index, entry)).collect();
        let content = Self { purged: state.purged, entries, vote: log.vote() };
        assert_eq!(content.last(), state.last);
        content
    }
}

struct Model {
    rig: Option<Rig>,
    changes: Vec<Change>,
    /// Per operation: the number of changes after it.
    ends: Vec<usize>,
    answers: Answers,
    term: u64,
}

impl Model {
    fn new() -> Self {
        let rig = Some(Rig::new());
        Self { rig, changes: Vec::new(), ends: Vec::new(), answers: Answers::default(), term: 1 }
    }

    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().unwrap()
    }

    fn content(&self) -> Content {
        Content::of(&self.changes)
    }

    fn step(&mut self, action: &Action) {
        match action {
            Action::Append { entries, bytes } => self.append(*entries, *bytes),
            Action::Vote => {
                self.term += 1;
                let vote = vote(self.term);
                let done = self.begin([Change::Vote(vote)]);
                self.rig().log.save_vote(vote, done);
            }
            Action::Truncate(share) => {
                let last = self.pick(*share);
                let done = self.begin([Change::Truncate(last)]);
                self.rig().log.truncate_after(last, done);
            }
            Action::Purge(share) => {
                if let Some(through) = self.pick(*share) {
                    self.purge(through);
                }
            }
            Action::PurgeBeyond => {
                let next = self.content().last().map_or(0, |last| last.index + 1);
                self.purge(id(self.term, next + 2));
            }
            Action::Drain => while self.rig().writer.drain() {},
            Action::Read { start, bytes_max } => self.read(*start, *bytes_max),
            Action::Restart => self.end(None, None),
            Action::Space(left) => {
                let disk = &self.rig().disk;
                disk.set_space_bytes_max(left.map(|left| disk.used_bytes() + left));
            }
            Action::CrashWithin(syncs) => self.end(Some(*syncs), None),
            Action::CutWithin(syncs, seed) => self.end(Some(*syncs), Some(*seed)),
        }
    }

    fn append(&mut self, entries: u64, bytes: usize) {
        let first = self.content().last().map_or(0, |last| last.index + 1);
        let entries: Vec<_> =
            (first..first + entries).map(|index| entry(self.term, index, bytes)).collect();
        let done = self.begin(entries.iter().cloned().map(Change::Entry));
        self.rig().log.append(entries, done);
    }

    fn purge(&mut self, through: LogId) {
        let done = self.begin([Change::Purge(through)]);
        self.rig().log.purge(through, done);
    }

    /// An entry's id at a share of the log, or what stands before the first.
    fn pick(&self, share: usize) -> Option<LogId> {
        let content = self.content();
        let place = share * (content.entries.len() + 1) / 1_000;
        if place == 0 { content.purged } else { content.entries.values().nth(place - 1)?.id }
    }

    fn begin(&mut self, changes: impl IntoIterator<Item = Change>) -> Done {
        self.changes.extend(changes);
        self.ends.push(self.changes.len());
        note(&self.answers, self.ends.len() - 1)
    }

    fn read(&mut self, start: usize, bytes_max: usize) {
        let content = self.content();
        let Some((first, _)) = content.entries.first_key_value() else { return };
        let start = first + start as u64 % content.entries.len() as u64;
        let found = self.rig().log.read(start..u64::MAX, bytes_max).unwrap();
        assert!(!found.is_empty());
        let expected = content.entries.range(start..).take(found.len()).map(|(_, entry)| entry);
        assert!(found.iter().eq(expected));
    }

    /// Ends the process, perhaps within a drain, perhaps with a power cut, and starts it again.
    fn end(&mut self, good_syncs: Option<u64>, cut: Option<u64>) {
        let Rig { disk, boot, log, mut writer } = self.rig.take().unwrap();
        assert_eq!(Content::of_log(&log), self.content());
        if let Some(good) = good_syncs {
            disk.fail_syncs_after(good);
            while writer.drain() {}
            disk.fail_syncs(false);
        }
        drop((log, writer));
        let boot = interrupt(&disk, boot, cut);
        // A recovery may be interrupted too.
        disk.fail_syncs_after(cut.unwrap_or(0) % 5);
        let interrupted = open(&disk, boot).is_err();
        disk.fail_syncs(false);
        let boot = if interrupted { interrupt(&disk, boot, cut) } else { boot };
        self.check_answers();
        self.rig = Some(Rig::on(disk, boot));
        self.adopt();
    }

    /// What the log says is on disk is a part of what was asked, and all of it where nothing waits.
    fn check_synced(&self) {
        let Some(Rig { log, .. }) = &self.rig else { return };
        let (content, progress) = (self.content(), log.progress());
        assert_eq!(log.synced(), progress.synced);
        if progress.asked == progress.answered {
            assert_eq!(progress.synced, content.last());
        }
        if let Some(synced) = progress.synced
            && content.purged.is_none_or(|purged| purged.index < synced.index)
        {
            let stored = content.entries.get(&synced.index).and_then(|entry| entry.id);
            assert_eq!(stored, Some(synced));
        }
    }

    /// There is space again: all that was asked is done.
    fn heal(&mut self) {
        self.rig().disk.set_space_bytes_max(None);
        while self.rig().writer.drain() {}
        assert!(!self.rig().writer.waits_for_space());
        self.check_answers();
        assert!(self.answers.lock().unwrap().iter().all(|(_, good)| *good));
        self.check_synced();
    }

    /// Every operation was answered exactly once, in order as far as it succeeded.
    fn check_answers(&self) {
        let answers = self.answers.lock().unwrap();
        let mut numbers: Vec<_> = answers.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..self.ends.len()));
        let good: Vec<_> =
            answers.iter().filter(|(_, good)| *good).map(|(number, _)| *number).collect();
        assert!(good.iter().copied().eq(0..good.len()));
    }

    /// What is there now is a prefix of what was asked, and everything acknowledged is in it.
    fn adopt(&mut self) {
        let good = self.answers.lock().unwrap().iter().filter(|(_, good)| *good).count();
        let acknowledged = good.checked_sub(1).map_or(0, |last| self.ends[last]);
        let found = Content::of_log(&self.rig.as_ref().unwrap().log);
        let kept = (acknowledged..=self.changes.len())
            .find(|kept| Content::of(&self.changes[..*kept]) == found)
            .expect("the log is a prefix that holds everything acknowledged");
        self.changes.truncate(kept);
        self.ends = vec![kept];
        self.answers = Answers::default();
        self.answers.lock().unwrap().push((0, true));
    }
}

/// Ends the process or cuts the power. Returns the boot that comes next.
fn interrupt(disk: &MemoryDisk, boot: u8, cut: Option<u64>) -> u8 {
    let Some(seed) = cut else {
        disk.crash();
        return boot;
    };
    let mut state = seed;
    disk.power_cut(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
        state >> 24
    });
    boot + 1
}

fn action() -> impl Strategy<Value = Action> {
    let bytes = prop_oneof![4 => 0..400_usize, 2 => 400..2_000_usize, 1 => 4_000..9_000_usize];
    prop_oneof![
        8 => (1..6_u64, bytes).prop_map(|(entries, bytes)| Action::Append { entries, bytes }),
        2 => Just(Action::Vote),
        3 => (0..1_000_usize).prop_map(Action::Truncate),
        3 => (0..1_000_usize).prop_map(Action::Purge),
        1 => Just(Action::PurgeBeyond),
        8 => Just(Action::Drain),
        4 => (any::<u16>(), prop_oneof![Just(0), Just(usize::MAX), 0..6_000_usize])
            .prop_map(|(start, bytes_max)| Action::Read { start: start.into(), bytes_max }),
        1 => Just(Action::Restart),
        3 => prop_oneof![Just(None), (0..12_000_u64).prop_map(Some)].prop_map(Action::Space),
        2 => (0..8_u64).prop_map(Action::CrashWithin),
        4 => (0..8_u64, any::<u64>()).prop_map(|(syncs, seed)| Action::CutWithin(syncs, seed)),
    ]
}

/// `PROPTEST_CASES` in the environment asks for more.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(400)
}

#[test]
fn the_log_keeps_what_it_acknowledged() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases()));
    let waited = Cell::new(0);
    let actions = prop::collection::vec(action(), 1..60);
    let ran = runner.run(&actions, |actions| {
        let mut model = Model::new();
        for action in &actions {
            model.step(action);
            let Rig { log, writer, .. } = model.rig.as_ref().unwrap();
            assert_eq!(Content::of_log(log), model.content());
            waited.set(waited.get() + u32::from(writer.waits_for_space()));
            model.check_synced();
        }
        model.heal();
        model.end(None, None);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    assert!(waited.get() >= cases() / 4, "the disk was full after {} actions", waited.get());
}

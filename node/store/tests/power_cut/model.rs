//! What a node must still have after a power cut: all that was acknowledged, and nothing that was
//! never asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use conclave_store::identity::{Identity, Out};
use conclave_store::log::{Log, LogState};
use conclave_store::state::{MemoryEngine, State, StateConfig, StateHash};
use conclave_store::v1::entry::Payload;
use conclave_store::v1::{Command, Entry, Key, LogId, Seen, Vote, Write};
use prost::Message;

pub(crate) const STATE: StateConfig = StateConfig {
    overlay_bytes_max: 16 << 20,
    undo_bytes_max: 16 << 20,
    checkpoint_entries: 1_024,
};

/// What a log amounts to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) purged: Option<LogId>,
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) vote: Option<Vote>,
}

/// One change of a log, as it was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Entry(Entry),
    Truncate(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
}

/// Something small that is replaced whole: what it was when it was last acknowledged, and what may
/// stand there since.
pub(crate) struct Register<T> {
    possible: Vec<T>,
}

/// What must hold.
pub(crate) struct Model {
    /// The log when it was last opened.
    base: Content,
    changes: Vec<Change>,
    /// Changes of `changes` that were acknowledged.
    pub(crate) acknowledged: usize,
    pub(crate) term: u64,
    /// Everything up to this index is committed: never truncated, and applied in its order.
    pub(crate) committed: u64,
    reference: State,
    /// The state hash after each committed entry.
    hashes: BTreeMap<u64, StateHash>,
    /// The newest snapshot that was said to be stored.
    pub(crate) snapshot: u64,
    /// The highest number that a start was given.
    pub(crate) boot_counter: u64,
    pub(crate) identity: Register<Option<Identity>>,
    pub(crate) seen: Register<Option<Seen>>,
    pub(crate) out: Register<Option<(Out, String)>>,
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Entry(entry) => {
                self.entries.insert(index_of(entry), entry.clone());
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

    pub(crate) fn last(&self) -> Option<LogId> {
        self.entries.values().last().map_or(self.purged, |entry| entry.id)
    }

    fn of_log(log: &Log) -> Result<Self, String> {
        let LogState { purged, last } = log.state();
        let first = purged.map_or(0, |purged| purged.index);
        let found = log.read(first + 1..u64::MAX, usize::MAX).map_err(|error| error.to_string())?;
        let entries = found.into_iter().map(|entry| (index_of(&entry), entry)).collect();
        let content = Self { purged, entries, vote: log.vote() };
        if content.last() != last || log.synced() != last {
            return Err(format!("the log says it ends at {last:?} and is at {:?}", content.last()));
        }
        Ok(content)
    }
}

impl<T: Clone + PartialEq + std::fmt::Debug> Register<T> {
    fn new(value: T) -> Self {
        Self { possible: vec![value] }
    }

    /// It was asked to become `value`, and said that it did or not.
    pub(crate) fn set(&mut self, value: T, acknowledged: bool) {
        if acknowledged {
            self.possible.clear();
        }
        self.possible.push(value);
    }

    /// What was asked for last.
    pub(crate) fn newest(&self) -> &T {
        self.possible.last().expect("there is always one")
    }

    fn adopt(&mut self, what: &str, found: T) -> Result<(), String> {
        if !self.possible.contains(&found) {
            return Err(format!("{what} is {found:?}, and could be {:?}", self.possible));
        }
        self.possible = vec![found];
        Ok(())
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        let reference = State::open(Arc::new(MemoryEngine::new()), STATE);
        Self {
            base: Content::default(),
            changes: Vec::new(),
            acknowledged: 0,
            term: 1,
            committed: 0,
            reference: reference.expect("an engine in memory opens"),
            hashes: BTreeMap::new(),
            snapshot: 0,
            boot_counter: 0,
            identity: Register::new(None),
            seen: Register::new(None),
            out: Register::new(None),
        }
    }

    /// A change of the log is asked for. Returns the number of changes with it.
    pub(crate) fn ask(&mut self, change: Change) -> usize {
        self.changes.push(change);
        self.changes.len()
    }

    /// The log with all that was asked for.
    pub(crate) fn asked(&self) -> Content {
        self.after(self.changes.len())
    }

    /// The newest entry that was acknowledged.
    pub(crate) fn durable(&self) -> u64 {
        self.after(self.acknowledged).last().map_or(0, |last| last.index)
    }

    fn after(&self, changes: usize) -> Content {
        let mut content = self.base.clone();
        self.changes[..changes].iter().for_each(|change| content.apply(change));
        content
    }

    /// Everything up to `index` is committed. **It was acknowledged.**
    pub(crate) fn commit(&mut self, index: u64) {
        let content = self.asked();
        for (_, entry) in content.entries.range(self.committed + 1..index + 1) {
            self.reference.apply(entry).expect("the reference applies what a node applies");
            self.hashes.insert(index_of(entry), self.reference.applied().state_hash);
            self.committed = index_of(entry);
        }
    }

    pub(crate) fn hash_at(&self, index: u64) -> StateHash {
        self.hashes.get(&index).copied().unwrap_or_default()
    }

    /// Takes what a log holds after a power cut as what it is from now on.
    pub(crate) fn adopt_log(&mut self, log: &Log) -> Result<(), String> {
        let found = Content::of_log(log)?;
        let kept = (self.acknowledged..=self.changes.len())
            .find(|kept| self.after(*kept) == found)
            .ok_or_else(|| {
                let expected = self.after(self.acknowledged);
                format!(
                    "the log holds {:?} to {:?}, vote {:?}; acknowledged were {:?} to {:?}, vote {:?}",
                    found.purged, found.last(), found.vote, expected.purged, expected.last(), expected.vote
                )
            })?;
        self.base = self.after(kept);
        self.changes.clear();
        self.acknowledged = 0;
        self.term = self.term.max(found.vote.map_or(0, |vote| vote.term));
        Ok(())
    }

    /// Takes what the small files say.
    pub(crate) fn adopt_files(
        &mut self,
        identity: Option<Identity>,
        seen: Option<Seen>,
        out: Option<(Out, String)>,
    ) -> Result<(), String> {
        self.identity.adopt("the identity", identity)?;
        self.seen.adopt("what was seen", seen)?;
        self.out.adopt("the mark of being out", out)
    }
}

fn index_of(entry: &Entry) -> u64 {
    entry.id.map_or(0, |id| id.index)
}

/// An entry that puts `values` long values, and deletes every third time.
pub(crate) fn entry(term: u64, index: u64, values: &[usize]) -> Entry {
    let key = |place: usize| Key {
        segments: vec![
            Bytes::from_static(b"d"),
            Bytes::from(format!("{}", (index as usize + place) % 37)),
        ],
        flat: false,
    };
    let writes = values.iter().enumerate().map(|(place, bytes)| Write {
        key: Some(key(place)),
        value: (!(index as usize + place).is_multiple_of(3))
            .then(|| Bytes::from(vec![(term + index) as u8; *bytes])),
    });
    let command = Command { writes: writes.collect(), stamped_ms: index, ..Command::default() };
    let payload = Payload::Command(Bytes::from(command.encode_to_vec()));
    Entry { id: Some(LogId { term, leader_id: 1, index }), payload: Some(payload) }
}

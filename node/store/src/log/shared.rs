//! What the handles and the writer share: the queue and what a reader may see.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use prost::Message;

use super::cache::{Cache, weight};
use super::figures::{LogFigures, LogProgress};
use super::index::{Index, IndexChange, Piece};
use super::standing::{Standing, Step};
use super::synced::Synced;
use super::{Done, GROUP_BYTES_MAX, RECORD_BYTES_MAX};
use crate::v1::{Entry, LogId, Vote};

/// What waits for the writer.
pub(super) enum Operation {
    Append(Vec<Entry>),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
    /// Cannot be done; only its caller hears of it.
    Refuse(io::Error),
}

/// An operation, its place in the order, and whom to tell.
pub(super) struct Queued {
    pub(super) ticket: u64,
    pub(super) operation: Operation,
    bytes: usize,
    pub(super) callback: Callback,
}

/// Calls a [`Done`] exactly once: with an error where it is dropped uncalled.
pub(super) struct Callback(Option<Done>);

/// Why the log takes no more operations. An [`io::Error`] that can be told many times.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    kind: io::ErrorKind,
    text: String,
}

/// What a group changed on disk.
#[derive(Default)]
pub(super) struct Committed {
    /// The newest entry on disk after it.
    pub(super) last: Option<LogId>,
    pub(super) changes: Vec<IndexChange>,
    pub(super) entries: u64,
    pub(super) syncs: u64,
    pub(super) bytes: u64,
    pub(super) segments: u64,
}

type Waker = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Shared {
    state: Mutex<State>,
    queued: Condvar,
    cache_bytes_max: usize,
}

struct State {
    /// Bounded by its callers: Raft has a bounded number of appends under way.
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    ticket: u64,
    /// With all queued operations applied.
    standing: Standing,
    cache: Cache,
    /// With all answered operations applied.
    index: Index,
    on_disk: Synced,
    /// The writer waits for space.
    full: bool,
    ending: Option<Ending>,
    waker: Option<Waker>,
    figures: LogFigures,
}

/// What a read found: stretches on disk, then entries in memory.
pub(super) struct Found {
    pub(super) pieces: Vec<Piece>,
    pub(super) recent: Vec<Entry>,
}

impl Shared {
    pub(super) fn new(standing: Standing, index: Index, cache_bytes_max: usize) -> Self {
        let state = State {
            on_disk: Synced::new(standing.last),
            full: false,
            queue: VecDeque::new(),
            queued_bytes: 0,
            ticket: 0,
            standing,
            cache: Cache::default(),
            index,
            ending: None,
            waker: None,
            figures: LogFigures::default(),
        };
        Self { state: Mutex::new(state), queued: Condvar::new(), cache_bytes_max }
    }

    pub(super) fn standing(&self) -> Standing {
        self.state().standing
    }

    pub(super) fn append(&self, entries: Vec<Entry>, done: Done) {
        self.submit(done, |state, ticket| state.append(entries, ticket));
    }

    pub(super) fn save_vote(&self, vote: Vote, done: Done) {
        self.submit(done, |state, _| {
            state.standing.apply(&Step::Vote(vote));
            (Operation::Vote(vote), weight(vote.encoded_len()))
        });
    }

    pub(super) fn truncate(&self, last: Option<LogId>, done: Done) {
        self.submit(done, |state, ticket| {
            state.standing.apply(&Step::Truncate(last));
            let next = state.standing.next_index();
            state.cache.truncate(next);
            state.on_disk.cut(ticket, state.standing.last);
            (Operation::Truncate(last), weight(0))
        });
    }

    pub(super) fn purge(&self, through: LogId, done: Done) {
        self.submit(done, |state, _| {
            state.standing.apply(&Step::Purge(through));
            let below = state.standing.first_kept();
            state.cache.purge(below);
            (Operation::Purge(through), weight(0))
        });
    }

    /// Finds the entries of `range`; see [`super::Log::read`].
    pub(super) fn find(&self, range: Range<u64>, bytes_max: usize) -> Found {
        let state = self.state();
        let stored = state.standing.range();
        if !stored.contains(&range.start) {
            return Found { pieces: Vec::new(), recent: Vec::new() };
        }
        let end = range.end.min(stored.end);
        let cached_from = state.cache.first_index().unwrap_or(stored.end);
        let on_disk = range.start..end.min(cached_from);
        if on_disk.is_empty() {
            let recent = state.cache.read(range.start..end, bytes_max, true);
            return Found { pieces: Vec::new(), recent };
        }
        let (pieces, bytes) = state.index.plan(on_disk.clone(), bytes_max);
        let whole = pieces.last().is_some_and(|piece| piece.next() == on_disk.end);
        let recent = if whole {
            state.cache.read(on_disk.end..end, bytes_max.saturating_sub(bytes), false)
        } else {
            Vec::new()
        };
        Found { pieces, recent }
    }

    pub(super) fn set_waker(&self, waker: Waker) {
        self.state().waker = Some(waker);
    }

    pub(super) fn synced(&self) -> Option<LogId> {
        self.state().on_disk.last()
    }

    pub(super) fn progress(&self) -> LogProgress {
        let state = self.state();
        LogProgress {
            last: state.standing.last,
            synced: state.on_disk.last(),
            asked: state.ticket,
            answered: state.on_disk.ticket(),
            full: state.full,
        }
    }

    pub(super) fn figures(&self) -> LogFigures {
        let state = self.state();
        LogFigures {
            queued_operations: state.queue.len() as u64,
            queued_bytes: state.queued_bytes as u64,
            cache_bytes: state.cache.bytes() as u64,
            ..state.figures
        }
    }

    /// Takes no more operations.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.ending.get_or_insert_with(|| Ending {
            kind: io::ErrorKind::BrokenPipe,
            text: "the log was closed: start the node again".to_owned(),
        });
        let waker = state.waker.clone();
        drop(state);
        self.wake(waker);
    }

    /// Sleeps while nothing is queued. False once the log was closed and nothing is left.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state();
        while state.queue.is_empty() && state.ending.is_none() {
            state = self.queued.wait(state).expect("no holder of the state panics");
        }
        !state.queue.is_empty()
    }

    /// Sleeps for `pause`. False as soon as the log was closed.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let open = |state: &mut State| state.ending.is_none();
        let state = self.state();
        let (mut state, _) = self
            .queued
            .wait_timeout_while(state, pause, open)
            .expect("no holder of the state panics");
        open(&mut state)
    }

    pub(super) fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Takes the operations of the next group.
    pub(super) fn take_group(&self) -> Vec<Queued> {
        let mut state = self.state();
        let mut bytes = 0;
        let fits = |queued: &&Queued| {
            let first = bytes == 0;
            bytes += queued.bytes;
            first || bytes <= GROUP_BYTES_MAX
        };
        let count = state.queue.iter().take_while(fits).count();
        let group: Vec<_> = state.queue.drain(..count).collect();
        state.queued_bytes -= group.iter().map(|queued| queued.bytes).sum::<usize>();
        group
    }

    /// Makes known what a group changed. Returns the oldest segment that still holds an entry.
    pub(super) fn settle(&self, group: &[Queued], committed: Committed) -> Option<u64> {
        let mut state = self.state();
        let figures = &mut state.figures;
        figures.groups += 1;
        figures.operations += group.len() as u64;
        figures.entries += committed.entries;
        figures.syncs += committed.syncs;
        figures.bytes += committed.bytes;
        figures.segments = committed.segments;
        for change in committed.changes {
            state.index.apply(change);
        }
        if let Some(last) = group.last() {
            state.cache.evict(self.cache_bytes_max, last.ticket);
            state.on_disk.settle(last.ticket, committed.last);
        }
        state.index.oldest_segment()
    }

    /// Ends the log for good and takes what still waits.
    pub(super) fn fail(&self, ending: Ending) -> Vec<Queued> {
        let mut state = self.state();
        state.ending = Some(ending);
        state.queued_bytes = 0;
        let rest = state.queue.drain(..).collect();
        drop(state);
        self.queued.notify_all();
        rest
    }

    fn submit(&self, done: Done, make: impl FnOnce(&mut State, u64) -> (Operation, usize)) {
        let callback = Callback(Some(done));
        let mut state = self.state();
        if let Some(ending) = state.ending.clone() {
            drop(state);
            return callback.call(Err(ending.to_error()));
        }
        state.ticket += 1;
        let ticket = state.ticket;
        let (operation, bytes) = make(&mut state, ticket);
        state.queued_bytes += bytes;
        state.queue.push_back(Queued { ticket, operation, bytes, callback });
        let waker = state.waker.clone();
        drop(state);
        self.wake(waker);
    }

    fn wake(&self, waker: Option<Waker>) {
        self.queued.notify_all();
        if let Some(waker) = waker {
            waker();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the state panics")
    }
}

impl State {
    /// Makes entries readable, all or none.
    fn append(&mut self, entries: Vec<Entry>, ticket: u64) -> (Operation, usize) {
        let mut standing = self.standing;
        let mut bytes = 0;
        let mut weights = Vec::with_capacity(entries.len());
        for entry in &entries {
            match entry.id {
                Some(id) if standing.accepts(id.index) => standing.apply(&Step::Entry(id)),
                id => return (refuse_order(id, standing.last), weight(0)),
            }
            let encoded = entry.encoded_len();
            if encoded > RECORD_BYTES_MAX {
                return (refuse_size(encoded), weight(0));
            }
            weights.push(weight(encoded));
            bytes += weight(encoded);
        }
        for (entry, weight) in entries.iter().zip(weights) {
            let index = entry.id.map_or(0, |id| id.index);
            self.cache.push(entry.clone(), index, weight, ticket);
        }
        self.standing = standing;
        (Operation::Append(entries), bytes.max(1))
    }
}

fn refuse_order(id: Option<LogId>, last: Option<LogId>) -> Operation {
    let text = format!("an entry {id:?} cannot follow {last:?}: append entries in order");
    Operation::Refuse(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn refuse_size(encoded: usize) -> Operation {
    let text = format!(
        "an entry of {encoded} bytes is above the bound of {RECORD_BYTES_MAX}: propose smaller ones"
    );
    Operation::Refuse(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl Callback {
    pub(super) fn call(mut self, result: io::Result<()>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Ending::writer_gone().to_error()));
        }
    }
}

impl Ending {
    pub(super) fn after(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            text: format!(
                "the log failed and what is on disk is unknown; restart this node: {error}"
            ),
        }
    }

    pub(super) fn writer_gone() -> Self {
        Self {
            kind: io::ErrorKind::BrokenPipe,
            text: "the log's writer has ended: restart this node".to_owned(),
        }
    }

    pub(super) fn to_error(&self) -> io::Error {
        io::Error::new(self.kind, self.text.clone())
    }
}

//! What the applier, the flusher and the readers share, and how each finds a record.
//!
//! One applier at a time holds `apply_turn`, one flusher `flush_turn` (taken after the former);
//! `memory` is locked last and only for moments, never across an engine call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::engine::StateEngine;
use super::hash::{SetHash, StateHash};
use super::overlay::Overlay;
use super::record::{FORMAT, Generation, Head, Meta, Record};
use super::types::{Applied, StateConfig, StateError};
use super::undo::Undo;
use crate::v1::{LogId, StoredMembership};

pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn StateEngine>,
    pub(crate) config: StateConfig,
    pub(crate) boot_id: [u8; 16],
    apply_turn: Mutex<ApplyTurn>,
    flush_turn: Mutex<FlushTurn>,
    memory: RwLock<Memory>,
}

/// What only the applier needs.
#[derive(Default)]
pub(crate) struct ApplyTurn {
    /// Before this stamped time no session can be due. A hint: 0 makes the applier look.
    pub(crate) next_expiry_ms: u64,
}

/// What only the flusher needs.
#[derive(Default)]
pub(crate) struct FlushTurn {
    pub(crate) batches_since_sync: u32,
}

pub(crate) struct Memory {
    /// Counts imports: a view opened before one has expired.
    pub(crate) epoch: u64,
    pub(crate) generation: Generation,
    pub(crate) position: Position,
    /// Whether something was applied since the overlay was last frozen.
    pub(crate) unflushed: bool,
    pub(crate) overlay: Overlay,
    pub(crate) undo: Undo,
    pub(crate) checkpoint_entries: u64,
    pub(crate) checkpoints: VecDeque<(u64, StateHash)>,
    /// Generations that imports are filling.
    pub(crate) staging: BTreeSet<Generation>,
    /// Whether generations that nobody needs may be left in the engine.
    pub(crate) garbage: bool,
}

/// Where the newest applied entry left the state.
#[derive(Clone, Default)]
pub(crate) struct Position {
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: Option<StoredMembership>,
    pub(crate) stamped_ms: u64,
    pub(crate) hash: SetHash,
    pub(crate) record_count: u64,
}

impl Position {
    pub(crate) fn index(&self) -> u64 {
        self.log_id.map_or(0, |id| id.index)
    }

    pub(crate) fn meta(&self, generation: Generation) -> Meta {
        Meta {
            format: FORMAT,
            generation: u32::from(generation.0),
            log_id: self.log_id,
            membership: self.membership.clone(),
            stamped_ms: self.stamped_ms,
            state_hash: Bytes::copy_from_slice(&self.hash.value().0),
            record_count: self.record_count,
            closed_in_boot: None,
        }
    }

    pub(crate) fn applied(&self) -> Applied {
        Applied {
            log_id: self.log_id,
            membership: self.membership.clone(),
            stamped_ms: self.stamped_ms,
            state_hash: self.hash.value(),
            epoch: 1,
        }
    }
}

/// At which revision a reader looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) epoch: u64,
    pub(crate) revision: u64,
}

/// A record met by a scan; the engine's long values are not joined yet.
pub(crate) enum Found {
    Record(Record),
    Head(Head),
}

/// A stretch of the state in key order.
pub(crate) struct Page {
    pub(crate) found: Vec<(Bytes, Found)>,
    /// Where the next page begins; none at the end. A page may be empty and not the last.
    pub(crate) next: Option<Bytes>,
}

impl Shared {
    pub(crate) fn new(
        engine: Arc<dyn StateEngine>,
        config: StateConfig,
        boot_id: [u8; 16],
        generation: Generation,
        position: Position,
        garbage: bool,
    ) -> Self {
        let memory = Memory {
            epoch: 0,
            generation,
            position,
            unflushed: false,
            overlay: Overlay::default(),
            undo: Undo::new(config.undo_bytes_max),
            checkpoint_entries: config.checkpoint_entries.max(1),
            checkpoints: VecDeque::new(),
            staging: BTreeSet::new(),
            garbage,
        };
        Self {
            engine,
            config,
            boot_id,
            apply_turn: Mutex::default(),
            flush_turn: Mutex::default(),
            memory: RwLock::new(memory),
        }
    }

    pub(crate) fn apply_turn(&self) -> MutexGuard<'_, ApplyTurn> {
        self.apply_turn.lock().expect("no applier panics in its turn")
    }

    pub(crate) fn flush_turn(&self) -> MutexGuard<'_, FlushTurn> {
        self.flush_turn.lock().expect("no flusher panics in its turn")
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().expect("nothing panics while the state is locked")
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().expect("nothing panics while the state is locked")
    }

    /// The newest state of a record. **Only in the applier's turn**: nothing else changes records.
    pub(crate) fn newest(&self, key: &[u8]) -> Result<Option<Record>, StateError> {
        let generation = {
            let memory = self.read();
            if let Some(record) = memory.overlay.get(key) {
                return Ok(record.clone());
            }
            memory.generation
        };
        // Only the applier adds to the overlay, so the engine's record is the newest one.
        generation.load(&*self.engine, key)
    }

    /// A record as it was at the ticket's revision.
    pub(crate) fn record_at(
        &self,
        ticket: Ticket,
        key: &[u8],
    ) -> Result<Option<Record>, StateError> {
        let generation = {
            let memory = self.read();
            memory.check(ticket)?;
            let kept = memory.undo.before(ticket.revision, key);
            if let Some(record) = kept.or_else(|| memory.overlay.get(key)) {
                return Ok(record.clone());
            }
            memory.generation
        };
        let loaded = generation.load(&*self.engine, key);
        if let Ok(Some(record)) = &loaded
            && record.revision <= ticket.revision
        {
            return loaded;
        }
        // Absent, newer or broken: unless this record changed while we read, that is the truth.
        let memory = self.read();
        memory.check(ticket)?;
        if let Some(record) = memory.undo.before(ticket.revision, key) {
            return Ok(record.clone());
        }
        match loaded? {
            None => Ok(None),
            Some(_) => Err(from_the_future()),
        }
    }

    /// About `limit` records from `from` to before `to`, at the ticket's revision. The order of
    /// the three looks matters: what the overlay does not hold at the first, the engine holds at
    /// the second, unless it changed meanwhile, which the third finds in the undo.
    pub(crate) fn page_at(
        &self,
        ticket: Ticket,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Page, StateError> {
        let (overlaid, generation) = {
            let memory = self.read();
            memory.check(ticket)?;
            (memory.overlay.page(from, to, limit), memory.generation)
        };
        let mut end = overlaid.last.as_ref().map(successor);
        let upper: &[u8] = end.as_deref().unwrap_or(to);
        let pairs = self.engine.range(&generation.head(from), &generation.head(upper), limit)?;
        if pairs.len() == limit
            && let Some((last, _)) = pairs.last()
        {
            end = Some(successor(&Generation::logical(last.clone())));
        }

        let mut merged = BTreeMap::new();
        for (key, value) in pairs {
            merged.insert(Generation::logical(key), Some(Candidate::Engine(value)));
        }
        for (key, record) in overlaid.records {
            merged.insert(key, record.map(Candidate::Record));
        }
        {
            let memory = self.read();
            memory.check(ticket)?;
            let upper: &[u8] = end.as_deref().unwrap_or(to);
            for (key, record) in memory.undo.range(ticket.revision, from, upper) {
                merged.insert(key.clone(), record.clone().map(Candidate::Record));
            }
        }
        if let Some(end) = &end {
            merged.split_off(end);
        }
        let mut found = Vec::with_capacity(merged.len());
        for (key, candidate) in merged {
            if let Some(candidate) = candidate {
                found.push((key, candidate.check(ticket.revision)?));
            }
        }
        Ok(Page { found, next: end.filter(|end| end.as_ref() < to) })
    }
}

/// What a scan met before it is known whether the undo overrides it.
enum Candidate {
    Record(Record),
    Engine(Vec<u8>),
}

impl Candidate {
    fn check(self, revision: u64) -> Result<Found, StateError> {
        match self {
            Self::Record(record) => Ok(Found::Record(record)),
            Self::Engine(bytes) => match Head::parse(bytes) {
                Some(head) if head.revision <= revision => Ok(Found::Head(head)),
                Some(_) => Err(from_the_future()),
                None => Err(StateError::Damaged("a record's head is malformed".into())),
            },
        }
    }
}

impl Memory {
    /// A ticket for the newest revision that keeps no undo: **only in the applier's turn**.
    pub(crate) fn newest(&self) -> Ticket {
        Ticket { epoch: self.epoch, revision: u64::MAX }
    }

    pub(crate) fn check(&self, ticket: Ticket) -> Result<(), StateError> {
        if ticket.epoch != self.epoch || self.undo.has_expired(ticket.revision) {
            return Err(StateError::ViewExpired);
        }
        Ok(())
    }

    pub(crate) fn remember_checkpoint(&mut self) {
        let index = self.position.index();
        if index == 0 || !index.is_multiple_of(self.checkpoint_entries) {
            return;
        }
        if self.checkpoints.len() == CHECKPOINTS_MAX {
            self.checkpoints.pop_front();
        }
        self.checkpoints.push_back((index, self.position.hash.value()));
    }
}

fn from_the_future() -> StateError {
    StateError::Damaged("a record's revision is above every applied entry".into())
}

/// The least byte string above `key`.
fn successor(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

/// Replicas compare their hashes at multiples of this index, unless a simulation wants it sooner.
pub const CHECKPOINT_ENTRIES: u64 = 1_024;
const CHECKPOINTS_MAX: usize = 64;

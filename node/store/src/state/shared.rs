//! What the applier, the flusher and the readers share, and how each finds a record.
//!
//! One applier at a time holds `apply_turn`, one flusher `flush_turn` (taken after the former);
//! `memory` is locked last and only for moments, never across an engine call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::engine::StateEngine;
use super::epoch::EPOCH_FIRST;
use super::hash::{SetHash, StateHash};
use super::overlay::Overlay;
use super::record::{FORMAT, Generation, Head, Meta, Record};
use super::restore::{UnderWay, free_generation};
use super::scrub::Round;
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
    /// Counts how often everything was replaced: a view opened before has expired.
    pub(crate) replaced: u64,
    pub(crate) generation: Generation,
    pub(crate) position: Position,
    /// Whether something was applied since the overlay was last frozen.
    pub(crate) unflushed: bool,
    pub(crate) overlay: Overlay,
    pub(crate) undo: Undo,
    pub(crate) checkpoint_entries: u64,
    pub(crate) checkpoints: VecDeque<(u64, StateHash)>,
    /// Generations that imports and a restore are filling.
    pub(crate) staging: BTreeSet<Generation>,
    /// Whether generations that nobody needs may be left in the engine.
    pub(crate) garbage: bool,
    /// The scrub under way.
    pub(crate) scrub: Option<Round>,
    /// Rounds begun so far.
    pub(crate) scrubs: u64,
}

/// Where the newest applied entry left the state.
#[derive(Clone, Default)]
pub(crate) struct Position {
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: Option<StoredMembership>,
    pub(crate) stamped_ms: u64,
    pub(crate) hash: SetHash,
    pub(crate) record_count: u64,
    /// The cluster's epoch; 0 stands for the first.
    pub(crate) epoch: u64,
    pub(crate) restore: UnderWay,
}

impl Position {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.max(EPOCH_FIRST)
    }

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
            restore: self.restore.as_deref().cloned(),
        }
    }

    pub(crate) fn applied(&self) -> Applied {
        Applied {
            log_id: self.log_id,
            membership: self.membership.clone(),
            stamped_ms: self.stamped_ms,
            state_hash: self.hash.value(),
            epoch: self.epoch(),
        }
    }
}

/// At which revision a reader looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) replaced: u64,
    pub(crate) revision: u64,
    /// Whether before-images may have been moved to the engine for this reader.
    pub(crate) exported: bool,
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
        let staging = position.restore.iter().map(|restore| restore.generation()).collect();
        let memory = Memory {
            replaced: 0,
            generation,
            position,
            unflushed: false,
            overlay: Overlay::default(),
            undo: Undo::new(config.undo_bytes_max),
            checkpoint_entries: config.checkpoint_entries.max(1),
            checkpoints: VecDeque::new(),
            staging,
            garbage,
            scrub: None,
            scrubs: 0,
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
        let found = self.unspilled_record_at(ticket, key);
        // A spilled image is earlier than any that is still in memory; looked for last, so that
        // one on its way is not missed.
        let Some(slot) = self.slot(ticket)? else { return found };
        let Some(spilled) = slot.load(&*self.engine, key)? else { return found };
        self.read().check(ticket)?;
        Ok((spilled.revision > 0).then_some(spilled))
    }

    /// Where before-images for this reader may have been moved to.
    fn slot(&self, ticket: Ticket) -> Result<Option<Generation>, StateError> {
        if !ticket.exported {
            return Ok(None);
        }
        let memory = self.read();
        memory.check(ticket)?;
        Ok(memory.undo.slot(ticket.revision))
    }

    fn unspilled_record_at(
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

    /// Reserves a generation with nothing in it.
    pub(crate) fn reserve_generation(&self) -> Result<Generation, StateError> {
        let mut flusher = self.flush_turn();
        loop {
            let (current, taken) = {
                let memory = self.read();
                (memory.generation, memory.staging.clone())
            };
            if let Some(free) = free_generation(&*self.engine, current, &taken)? {
                self.write().staging.insert(free);
                return Ok(free);
            }
            // Every one holds something; what is left of replaced states is in the way.
            if !self.read().garbage {
                return Err(StateError::Snapshot("too many imports are under way".into()));
            }
            self.flush_in(&mut flusher)?;
            self.sweep_garbage()?;
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
        self.merge_spilled(ticket, from, to, &mut end, limit, &mut merged)?;
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

impl Shared {
    /// Puts before-images that were moved to the engine in the place of what a page found, and
    /// ends the page at the last one where there are too many.
    fn merge_spilled(
        &self,
        ticket: Ticket,
        from: &[u8],
        to: &[u8],
        end: &mut Option<Bytes>,
        limit: usize,
        merged: &mut BTreeMap<Bytes, Option<Candidate>>,
    ) -> Result<(), StateError> {
        let Some(slot) = self.slot(ticket)? else { return Ok(()) };
        let upper = slot.head(end.as_deref().unwrap_or(to));
        let pairs = self.engine.range(&slot.head(from), &upper, limit)?;
        if pairs.len() == limit
            && let Some((last, _)) = pairs.last()
        {
            *end = Some(successor(&Generation::logical(last.clone())));
        }
        for (key, value) in pairs {
            let candidate = (!Head::is_absent(&value)).then_some(Candidate::Engine(value));
            merged.insert(Generation::logical(key), candidate);
        }
        self.read().check(ticket)
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
        Ticket { replaced: self.replaced, revision: u64::MAX, exported: false }
    }

    pub(crate) fn check(&self, ticket: Ticket) -> Result<(), StateError> {
        if ticket.replaced != self.replaced || self.undo.has_expired(ticket.revision) {
            return Err(StateError::ViewExpired);
        }
        Ok(())
    }

    /// Closes the active layer as a batch that ends with the newest entry.
    pub(crate) fn freeze(&mut self) {
        if std::mem::take(&mut self.unflushed) {
            self.overlay.freeze(self.generation, self.position.meta(self.generation));
        }
    }

    /// Makes a generation that holds all of it the state. **In the applier's and the flusher's
    /// turn.** Open views expire.
    pub(crate) fn replace(&mut self, generation: Generation, position: Position, undo: Undo) {
        self.replaced += 1;
        if let Some(restore) = &self.position.restore {
            self.staging.remove(&restore.generation());
        }
        self.staging.remove(&generation);
        self.generation = generation;
        self.position = position;
        self.overlay = Overlay::default();
        self.undo = undo;
        self.garbage = true;
        self.scrub = None;
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

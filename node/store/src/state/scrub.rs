//! The slow scrub: does the engine still hold what was written to it?
//!
//! A round walks every record in key order, a page at a time, checks its checksum and adds it to a
//! sum; at the end the sum must be the state hash. Entries go on being applied: under the same turn
//! that moves the cursor, a change to a record behind it is carried into the sum, so the sum is
//! that of the newest state up to the cursor, always. What still waits in the overlay is taken
//! from there; the engine's copy of it is about to be replaced.
//!
//! An engine answers from its cache what its files may have lost, so beside the records its files
//! are checked by themselves ([`StateEngine::verify`](super::StateEngine::verify)).

use bytes::Bytes;

use super::engine::Verified;
use super::hash::SetHash;
use super::key;
use super::shared::{Found, Shared};
use super::types::StateError;

/// Where a scrub stands. One round checks everything once.
#[derive(Default)]
pub struct Scrub {
    /// The round it has begun.
    round: Option<u64>,
    records_done: bool,
    files_done: bool,
}

/// The records behind the cursor, and their sum.
pub(crate) struct Round {
    number: u64,
    pub(crate) cursor: Bytes,
    pub(crate) sum: SetHash,
}

impl Shared {
    pub(crate) fn scrub(&self, scrub: &mut Scrub, records_max: usize) -> Result<bool, StateError> {
        if !scrub.records_done {
            scrub.records_done = self.scrub_records(scrub, records_max.max(1))?;
        }
        if !scrub.files_done {
            scrub.files_done = match self.engine.verify(FILE_BYTES)? {
                Verified::More => false,
                Verified::Whole => true,
                Verified::Damaged(what) => return Err(StateError::Damaged(what)),
            };
        }
        let ended = scrub.records_done && scrub.files_done;
        if ended {
            *scrub = Scrub::default();
        }
        Ok(ended)
    }

    /// Checks a page of records; true after the last one.
    fn scrub_records(&self, scrub: &mut Scrub, limit: usize) -> Result<bool, StateError> {
        // No record changes meanwhile: what the overlay lacks, the engine holds at its newest.
        let _applier = self.apply_turn();
        let everything = key::everything();
        let (ticket, generation, from, mut sum) = {
            let mut memory = self.write();
            let known =
                memory.scrub.as_ref().is_some_and(|round| Some(round.number) == scrub.round);
            if !known {
                // A first round, or everything was replaced in the middle of one.
                memory.scrubs += 1;
                let (number, cursor) = (memory.scrubs, everything.start.clone());
                memory.scrub = Some(Round { number, cursor, sum: SetHash::default() });
                scrub.round = Some(number);
            }
            let round = memory.scrub.as_ref().expect("it was known or begun");
            (memory.newest(), memory.generation, round.cursor.clone(), round.sum)
        };
        let page = self.page_at(ticket, &from, &everything.end, limit)?;
        let (mut next, mut bytes) = (page.next, 0);
        for (key, found) in page.found {
            if bytes >= RECORD_BYTES {
                next = Some(key);
                break;
            }
            let record = match found {
                Found::Record(record) => record,
                Found::Head(head) => generation.complete(&*self.engine, &key, head)?,
            };
            sum.add(&key, record.revision, &record.value);
            bytes += key.len() + record.value.len();
        }
        self.end_page(next, sum)
    }

    /// Moves the cursor; at the end compares.
    fn end_page(&self, next: Option<Bytes>, sum: SetHash) -> Result<bool, StateError> {
        let mut memory = self.write();
        if let Some(next) = next {
            if let Some(round) = &mut memory.scrub {
                (round.cursor, round.sum) = (next, sum);
            }
            return Ok(false);
        }
        memory.scrub = None;
        if sum != memory.position.hash {
            let what = "the engine's records do not add up to the state hash";
            return Err(StateError::Damaged(what.into()));
        }
        Ok(true)
    }
}

/// Records read in one step, by bytes: applies wait for it.
const RECORD_BYTES: usize = 1 << 20;
/// What of the engine's files is read in one step.
const FILE_BYTES: usize = 512 << 10;

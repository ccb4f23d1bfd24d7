//! The cluster's epoch: which of its histories this is.
//!
//! It rises where history does not simply go on, by the recovery of a lost quorum or a restore.
//! The record is one of the state, so every replica and every snapshot agree on it, and nodes of
//! an older epoch can be told apart and kept out.

use bytes::Bytes;
use prost::Message;

use super::changes::Changes;
use super::engine::StateEngine;
use super::key;
use super::record::{Generation, Record};
use super::types::StateError;
use crate::v1::{EpochChange, EpochRecord};

/// The epoch a cluster begins with; it has no record.
pub(crate) const EPOCH_FIRST: u64 = 1;
/// Changes that the record keeps, the newest ones.
pub const EPOCH_CHANGES_MAX: usize = 64;

/// The epoch of a generation of records.
pub(crate) fn load(engine: &dyn StateEngine, generation: Generation) -> Result<u64, StateError> {
    let record = generation.load(engine, &key::epoch())?;
    Ok(newest(&decode(record.as_ref())?))
}

/// The record as an entry finds it.
pub(crate) fn present(changes: &mut Changes<'_>) -> Result<EpochRecord, StateError> {
    decode(changes.get(&key::epoch())?)
}

/// The record of these bytes; of none before the first change.
pub(crate) fn decode(record: Option<&Record>) -> Result<EpochRecord, StateError> {
    let Some(record) = record else { return Ok(EpochRecord::default()) };
    EpochRecord::decode(record.value.clone())
        .map_err(|_| StateError::Damaged("the record of the epochs is malformed".into()))
}

/// The epoch in force.
pub(crate) fn newest(record: &EpochRecord) -> u64 {
    record.changes.last().map_or(EPOCH_FIRST, |change| change.epoch)
}

/// The record's value with one change more.
pub(crate) fn raised(mut record: EpochRecord, change: EpochChange) -> Bytes {
    record.changes.push(change);
    let excess = record.changes.len().saturating_sub(EPOCH_CHANGES_MAX);
    record.changes.drain(..excess);
    Bytes::from(record.encode_to_vec())
}

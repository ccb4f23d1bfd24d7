//! Finds out what the engine holds, and whether it is what was written.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::engine::StateEngine;
use super::epoch;
use super::hash::{SetHash, StateHash};
use super::key;
use super::record::{GENERATION_FIRST, GENERATION_MAX, Generation, Head, Meta};
use super::restore::Restore;
use super::shared::{Position, Shared};
use super::types::{StateConfig, StateError};

/// Opens a state. Unless it was closed in good order in this boot, every record is read and
/// checked, and their set hash compared with the one that the last batch carried.
pub(crate) fn open(
    engine: Arc<dyn StateEngine>,
    config: StateConfig,
    boot_id: [u8; 16],
) -> Result<Shared, StateError> {
    let Some(meta) = Meta::read(&*engine)? else {
        if !engine.range(&[0], &[GENERATION_FIRST.0 + 1], 1)?.is_empty() {
            return Err(StateError::Damaged("records without metadata".into()));
        }
        // An import or a restore may have been staged before the first batch was written.
        let garbage = has_garbage(&*engine, GENERATION_FIRST)?;
        let position = Position::default();
        return Ok(Shared::new(engine, config, boot_id, GENERATION_FIRST, position, garbage));
    };
    let (generation, mut position) = parse(&meta)?;
    if meta.closed_in_boot.as_deref() != Some(&boot_id[..]) {
        scan(&*engine, generation, key::everything(), position.record_count, &position.hash)?;
        if let Some(restore) = &position.restore {
            scan_staged(&*engine, restore)?;
        }
    }
    position.epoch = epoch::load(&*engine, generation)?;
    let garbage = has_garbage(&*engine, generation)?;
    let closed = meta.closed_in_boot.is_some();
    let shared = Shared::new(engine, config, boot_id, generation, position, garbage);
    if closed {
        // From here on only another close makes the mark good again.
        shared.write_meta(&Meta { closed_in_boot: None, ..meta })?;
    }
    Ok(shared)
}

fn parse(meta: &Meta) -> Result<(Generation, Position), StateError> {
    let damaged = |what: &str| StateError::Damaged(what.into());
    let generation = u8::try_from(meta.generation).ok();
    let generation = generation.filter(|number| (1..=GENERATION_MAX).contains(number));
    let generation = generation.ok_or_else(|| damaged("the metadata names no generation"))?;
    let hash = meta.state_hash.as_ref().try_into();
    let hash = hash.map_err(|_| damaged("the metadata holds no state hash"))?;
    let restore = meta.restore.clone();
    if restore.as_ref().is_some_and(|restore| !restore.is_plausible()) {
        return Err(damaged("the metadata describes no restore"));
    }
    let position = Position {
        log_id: meta.log_id,
        membership: meta.membership.clone(),
        stamped_ms: meta.stamped_ms,
        hash: SetHash::from_value(&StateHash(hash)),
        record_count: meta.record_count,
        epoch: 0,
        restore: restore.map(Arc::new),
    };
    Ok((Generation(generation), position))
}

/// What is staged of a restore; records of chunks beyond it are written again by the log.
fn scan_staged(engine: &dyn StateEngine, restore: &Restore) -> Result<(), StateError> {
    let damaged = || StateError::Damaged("the metadata describes no restore".into());
    let (count, hash, last_key) = restore.staged().ok_or_else(damaged)?;
    let end = Bytes::from([last_key, &[0][..]].concat());
    let range = key::everything().start..end;
    scan(engine, restore.generation(), range, count, &hash)
}

/// Reads every record of a range and compares with what the metadata says.
fn scan(
    engine: &dyn StateEngine,
    generation: Generation,
    range: Range<Bytes>,
    expected_count: u64,
    expected_hash: &SetHash,
) -> Result<(), StateError> {
    let Range { start, end } = range;
    let (mut from, to) = (generation.head(&start), generation.head(&end));
    let mut hash = SetHash::default();
    let mut count = 0;
    loop {
        let pairs = engine.range(&from, &to, SCAN_PAGE)?;
        let Some((last, _)) = pairs.last() else { break };
        from = [last, &[0][..]].concat();
        for (at, value) in pairs {
            let key: Bytes = Generation::logical(at);
            let head = Head::parse(value)
                .ok_or_else(|| StateError::Damaged("a record's head is malformed".into()))?;
            let record = generation.complete(engine, &key, head)?;
            hash.add(&key, record.revision, &record.value);
            count += 1;
        }
    }
    if count != expected_count || hash != *expected_hash {
        let what =
            format!("{count} of {expected_count} records are there, or one is of another entry");
        return Err(StateError::Damaged(what));
    }
    Ok(())
}

/// Whether an import that ended early, or a state that was replaced, left records behind.
fn has_garbage(engine: &dyn StateEngine, current: Generation) -> Result<bool, StateError> {
    let below = engine.range(&[1], &[current.0], 1)?;
    let above = engine.range(&[current.0 + 1], &[u8::MAX], 1)?;
    Ok(!below.is_empty() || !above.is_empty())
}

const SCAN_PAGE: usize = 256;

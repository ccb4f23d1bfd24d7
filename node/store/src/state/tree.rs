//! Rows and the directories they make.
//!
//! A directory exists while it has a child. Its record stands in its parent and holds the revision
//! at which a child last appeared or went, and how many there are. Overwriting a row changes no
//! directory; neither does a change below a child directory that stays.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::changes::Changes;
use super::key;
use super::types::StateError;
use crate::v1::condition::Kind;
use crate::v1::{Condition, Write};

/// Whether a condition holds before the entry's writes.
pub(crate) fn holds(changes: &mut Changes<'_>, condition: &Condition) -> Result<bool, StateError> {
    let (at, expected) = match &condition.kind {
        Some(Kind::Key(row)) => (row.key.as_ref().and_then(key::row), row.revision),
        Some(Kind::Children(children)) => {
            (Some(key::directory(&children.segments)), children.revision)
        }
        None => return Ok(false),
    };
    let Some(at) = at else { return Ok(false) };
    Ok(changes.get(&at)?.map_or(0, |record| record.revision) == expected)
}

/// Executes the writes. What they do to a directory is summed up first, so that their order within
/// a command does not show.
pub(crate) fn write(changes: &mut Changes<'_>, writes: &[Write]) -> Result<(), StateError> {
    let mut touched = Touched::new();
    for write in writes {
        let Some(row) = &write.key else { continue };
        let Some(at) = key::row(row) else { continue };
        let change = match &write.value {
            Some(value) => i64::from(changes.put(&at, value.clone())?),
            None => -i64::from(changes.delete(&at)?),
        };
        if change != 0 && !row.flat {
            let parent = row.segments.len() - 1;
            *touched.entry((parent, &row.segments[..parent])).or_default() += change;
        }
    }
    // Deepest first: a directory that appears or goes is a change to its parent.
    while let Some(((depth, path), change)) = touched.pop_last() {
        let appeared = update_directory(changes, path, change)?;
        if appeared != 0 && depth > 0 {
            *touched.entry((depth - 1, &path[..depth - 1])).or_default() += appeared;
        }
    }
    Ok(())
}

/// Directories whose children changed, by depth and path, with the change of their number.
type Touched<'a> = BTreeMap<(usize, &'a [Bytes]), i64>;

/// 1 where the directory appeared, -1 where it went, 0 where it stays.
fn update_directory(
    changes: &mut Changes<'_>,
    path: &[Bytes],
    change: i64,
) -> Result<i64, StateError> {
    let at = key::directory(path);
    let before = match changes.get(&at)? {
        Some(record) => parse_count(&record.value)?,
        None => 0,
    };
    let after = before.checked_add_signed(change).ok_or_else(|| {
        StateError::Damaged("a directory counts fewer children than it has".into())
    })?;
    if after == 0 {
        changes.delete(&at)?;
    } else {
        changes.put(&at, Bytes::copy_from_slice(&after.to_be_bytes()))?;
    }
    Ok(i64::from(after > 0) - i64::from(before > 0))
}

fn parse_count(value: &[u8]) -> Result<u64, StateError> {
    let bytes = value.try_into();
    let bytes =
        bytes.map_err(|_| StateError::Damaged("a directory's count is malformed".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

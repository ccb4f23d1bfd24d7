//! `DELETE data/*path` and `delete/*path`: versions that read as deleted and can come back.

use conclave_mount::{EngineError, Request, Response, Storage};

use super::parse_versions;
use super::record::NameRecord;

/// Deletes the newest version.
pub(super) fn latest(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    mark(request, name, None, storage)
}

/// Deletes the versions that the body names.
pub(super) fn versions(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    mark(request, name, Some(parse_versions(request)?), storage)
}

/// No numbers stand for the newest version. Names and versions that are not there, and versions that
/// went before, are no error.
fn mark(
    request: &Request,
    name: &str,
    numbers: Option<Vec<u64>>,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let Some(mut record) = NameRecord::load(storage, name)? else { return Ok(Response::empty()) };
    let before = record.clone();
    let by = record.actor(&request.caller);
    for number in numbers.unwrap_or_else(|| vec![record.current_version]) {
        if let Some(version) = record.version_mut(number)
            && version.is_readable(request.now_ms)
        {
            version.deletion_ms = request.now_ms;
            version.deleted_by = by;
        }
    }
    if record.versions != before.versions {
        record.store(storage, name)?;
    }
    Ok(Response::empty())
}

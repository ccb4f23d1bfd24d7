//! `undelete/*path`: versions that were deleted and not destroyed come back.

use conclave_mount::{EngineError, Request, Response, Storage};

use super::parse_versions;
use super::record::NameRecord;

/// Brings back the versions that the body names.
pub(super) fn versions(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let numbers = parse_versions(request)?;
    let Some(mut record) = NameRecord::load(storage, name)? else { return Ok(Response::empty()) };
    let before = record.clone();
    for number in numbers {
        if let Some(version) = record.version_mut(number)
            && !version.destroyed
        {
            version.deletion_ms = 0;
            version.deleted_by = 0;
        }
    }
    if record != before {
        record.store(storage, name)?;
    }
    Ok(Response::empty())
}

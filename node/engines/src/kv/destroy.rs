//! `destroy/*path`: the data of versions goes for good, their metadata stays.

use conclave_mount::{EngineError, Request, Response, Storage};

use super::parse_versions;
use super::record::NameRecord;

/// Destroys the versions that the body names.
pub(super) fn versions(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let numbers = parse_versions(request)?;
    let Some(mut record) = NameRecord::load(storage, name)? else { return Ok(Response::empty()) };
    let before = record.clone();
    let by = record.actor(&request.caller);
    for number in numbers {
        if let Some(version) = record.version_mut(number)
            && !version.destroyed
        {
            version.destroyed = true;
            version.destroyed_by = by;
            record.remove_data(storage, number)?;
        }
    }
    if record.versions != before.versions {
        record.store(storage, name)?;
    }
    Ok(Response::empty())
}

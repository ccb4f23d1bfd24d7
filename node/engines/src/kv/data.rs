//! `data/*path`: reading a version and writing the next one.

use bytes::Bytes;
use conclave_mount::{EngineError, ErrorCode, Request, Response, Storage};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::record::{ConfigRecord, NameRecord, VersionMetadata};
use crate::time::format_time;
use conclave_mount::fields::{Object, Whole, present, query_whole};

/// Reads the version that `?version=` names, or the newest.
pub(super) fn read(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let number = query_whole(request, "version")?.unwrap_or(0);
    let record = NameRecord::load(storage, name)?.ok_or_else(EngineError::not_found)?;
    let version = record.version(number).ok_or_else(EngineError::not_found)?;
    if !version.is_readable(request.now_ms) {
        let data = compose(b"null", &record, version)?;
        return Err(EngineError::not_found().with_data(data));
    }
    let data = record.data(storage, version.number)?;
    Ok(Response { data: Some(compose(&data, &record, version)?), warnings: Vec::new() })
}

/// Writes the next version.
pub(super) fn write(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let Object(body): Object<WriteBody<'_>> = request.parse()?;
    let data = body.data.ok_or_else(|| EngineError::invalid("no data provided"))?.get().trim();
    if !data.starts_with('{') {
        return Err(EngineError::invalid("'data' must be a JSON object of names and values"));
    }
    let cas = body.options.and_then(|Object(options)| options.cas);
    let config = ConfigRecord::load(storage)?;
    let mut record = NameRecord::load(storage, name)?
        .unwrap_or_else(|| NameRecord::new(&request.unique, request.now_ms));
    check_cas(cas, &config, &record)?;
    let data = Bytes::copy_from_slice(data.as_bytes());
    let version = record.add_version(storage, &config, data, request.now_ms)?;
    record.store(storage, name)?;
    Response::json(&VersionView::new(&record, &version))
}

/// A check-and-set that does not hold is told in the words that clients compare with.
fn check_cas(
    cas: Option<Whole>,
    config: &ConfigRecord,
    record: &NameRecord,
) -> Result<(), EngineError> {
    let message = match cas {
        Some(Whole(expected)) if expected != record.current_version => {
            "check-and-set parameter did not match the current version"
        }
        None if config.cas_required || record.cas_required => {
            "check-and-set parameter required for this call"
        }
        _ => return Ok(()),
    };
    Err(EngineError::new(ErrorCode::CasMismatch, message))
}

/// `{"data": …, "metadata": {…}}`. The data was checked when it was written and goes out as the
/// bytes it came in, without being parsed again.
fn compose(
    data: &[u8],
    record: &NameRecord,
    version: &VersionMetadata,
) -> Result<Bytes, EngineError> {
    let metadata = serde_json::to_vec(&VersionView::new(record, version))
        .map_err(|_| EngineError::internal("version metadata cannot be written as JSON"))?;
    let parts: [&[u8]; 5] = [b"{\"data\":", data, b",\"metadata\":", &metadata, b"}"];
    Ok(parts.concat().into())
}

#[derive(Deserialize)]
struct WriteBody<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    options: Option<Object<WriteOptions>>,
}

#[derive(Default, Deserialize)]
struct WriteOptions {
    /// `null` is refused: it must not read as "write whatever stands there".
    #[serde(default, deserialize_with = "present")]
    cas: Option<Whole>,
}

/// A version's metadata as clients see it.
#[derive(Serialize)]
struct VersionView<'a> {
    created_time: String,
    custom_metadata: Option<&'a std::collections::BTreeMap<String, String>>,
    deletion_time: String,
    destroyed: bool,
    version: u64,
}

impl<'a> VersionView<'a> {
    fn new(record: &'a NameRecord, version: &VersionMetadata) -> Self {
        Self {
            created_time: format_time(version.created_ms),
            custom_metadata: record.custom_metadata_or_null(),
            deletion_time: format_time(version.deletion_ms),
            destroyed: version.destroyed,
            version: version.number,
        }
    }
}

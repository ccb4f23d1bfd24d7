//! `metadata/*path`: names, their settings and their history.

use std::collections::BTreeMap;

use conclave_mount::{EngineError, Request, Response, Storage};
use serde::{Deserialize, Serialize};

use super::config::Settings;
use super::record::{NAMES, NameRecord, VersionMetadata};
use crate::time::format_time;
use conclave_mount::fields::{DurationMs, Flag, Object, Whole, present, query_whole};
use conclave_mount::format_duration;

/// Names in one answer to LIST; `after` continues.
const LIST_NAMES_MAX: usize = 100_000;
const CUSTOM_KEYS_MAX: usize = 64;
const CUSTOM_KEY_BYTES_MAX: usize = 128;
const CUSTOM_VALUE_BYTES_MAX: usize = 512;

/// The names directly below `directory`; those with more below them end in a slash.
pub(super) fn list(
    request: &Request,
    directory: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let limit = list_limit(request)?;
    let path = format!("{NAMES}/{directory}");
    let after = request.query.get("after").map(String::as_str).filter(|after| !after.is_empty());
    let page = storage.list(path.trim_end_matches('/'), after, limit)?;
    if page.names.is_empty() {
        return Err(EngineError::not_found());
    }
    let mut response = Response::json(&ListView { keys: page.names })?;
    if page.more {
        response.warnings.push("more names follow; give the last one as 'after'".into());
    }
    Ok(response)
}

/// A limit that does not limit is refused, so that no policy about limits is escaped.
fn list_limit(request: &Request) -> Result<usize, EngineError> {
    let Some(limit) = query_whole(request, "limit")? else { return Ok(LIST_NAMES_MAX) };
    match usize::try_from(limit) {
        Ok(limit @ 1..=LIST_NAMES_MAX) => Ok(limit),
        _ => Err(EngineError::invalid(format!("'limit' must be from 1 to {LIST_NAMES_MAX}"))),
    }
}

/// Everything about a name but its data.
pub(super) fn read(name: &str, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let record = NameRecord::load(storage, name)?.ok_or_else(EngineError::not_found)?;
    Response::json(&NameView::new(&record))
}

/// Changes the settings that the body names; makes the name where it is not there yet.
pub(super) fn write(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let Object(settings): Object<Settings> = request.parse()?;
    let Object(custom): Object<CustomBody> = request.parse()?;
    settings.check()?;
    let mut record = NameRecord::load(storage, name)?
        .unwrap_or_else(|| NameRecord::new(&request.unique, request.now_ms));
    if let Some(Whole(max_versions)) = settings.max_versions {
        record.max_versions = max_versions;
    }
    if let Some(Flag(cas_required)) = settings.cas_required {
        record.cas_required = cas_required;
    }
    if let Some(DurationMs(after_ms)) = settings.delete_version_after {
        record.delete_version_after_ms = after_ms;
    }
    if let Some(custom_metadata) = custom.custom_metadata {
        check_custom_metadata(&custom_metadata)?;
        record.custom_metadata = custom_metadata;
    }
    record.updated_ms = request.now_ms;
    record.store(storage, name)?;
    Ok(Response::empty())
}

/// Removes a name and all its versions; no error where it is not there.
pub(super) fn delete(name: &str, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    if let Some(record) = NameRecord::load(storage, name)? {
        record.remove(storage, name)?;
    }
    Ok(Response::empty())
}

fn check_custom_metadata(custom: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let fits = |(key, value): (&String, &String)| {
        (1..=CUSTOM_KEY_BYTES_MAX).contains(&key.len()) && value.len() <= CUSTOM_VALUE_BYTES_MAX
    };
    if custom.len() > CUSTOM_KEYS_MAX || !custom.iter().all(fits) {
        return Err(EngineError::invalid(format!(
            "'custom_metadata' may have {CUSTOM_KEYS_MAX} keys of {CUSTOM_KEY_BYTES_MAX} bytes \
             with values of {CUSTOM_VALUE_BYTES_MAX} bytes; store more as a secret"
        )));
    }
    Ok(())
}

#[derive(Deserialize)]
struct CustomBody {
    #[serde(default, deserialize_with = "present")]
    custom_metadata: Option<BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct ListView {
    keys: Vec<String>,
}

#[derive(Serialize)]
struct NameView<'a> {
    cas_required: bool,
    created_time: String,
    current_version: u64,
    custom_metadata: Option<&'a BTreeMap<String, String>>,
    delete_version_after: String,
    max_versions: u64,
    oldest_version: u64,
    updated_time: String,
    versions: BTreeMap<u64, VersionView>,
}

#[derive(Serialize)]
struct VersionView {
    created_time: String,
    deletion_time: String,
    destroyed: bool,
}

impl<'a> NameView<'a> {
    fn new(record: &'a NameRecord) -> Self {
        Self {
            cas_required: record.cas_required,
            created_time: format_time(record.created_ms),
            current_version: record.current_version,
            custom_metadata: record.custom_metadata_or_null(),
            delete_version_after: format_duration(record.delete_version_after_ms),
            max_versions: record.max_versions,
            oldest_version: record.oldest_version,
            updated_time: format_time(record.updated_ms),
            versions: record.versions.iter().map(|v| (v.number, VersionView::new(v))).collect(),
        }
    }
}

impl VersionView {
    fn new(version: &VersionMetadata) -> Self {
        Self {
            created_time: format_time(version.created_ms),
            deletion_time: format_time(version.deletion_ms),
            destroyed: version.destroyed,
        }
    }
}

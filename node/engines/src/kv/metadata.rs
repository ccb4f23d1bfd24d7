//! `metadata/*path`: names, their settings and their history.

use conclave_mount::fields::Object;
use conclave_mount::{EngineError, Operation, Request, Response, Storage};

use super::metadata_fields::{Change, PatchBody, WriteBody};
use super::record::{ConfigRecord, NAMES, NameRecord};
use super::view::NameView;
use crate::listing::{self, NAMES_MAX, Names, Page};
use crate::plain;

/// The names directly below `directory`, those with more below them with a slash; for SCAN all
/// names in and below it.
pub(super) fn list(
    request: &Request,
    directory: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let page = Page::of(request, NAMES_MAX)?;
    names(request, directory, &page, storage)?.answer()
}

/// What the page has of the names at `directory` that the caller may see.
pub(super) fn names(
    request: &Request,
    directory: &str,
    page: &Page,
    storage: &mut dyn Storage,
) -> Result<Names, EngineError> {
    let visible = |name: &str| is_visible(request, directory, name);
    let path = format!("{NAMES}/{directory}");
    let path = path.trim_end_matches('/');
    match request.operation {
        Operation::Scan => listing::scan(storage, path, page, &visible),
        _ => listing::list(storage, path, page, &visible),
    }
}

/// With the mount's option `list_filter`, a name is shown to who may read its data or metadata, a
/// directory to who may list it.
fn is_visible(request: &Request, directory: &str, name: &str) -> bool {
    if !plain::filters_lists(&request.mount.options) {
        return true;
    }
    let Some(rights) = &request.caller.rights else { return false };
    let may = |operation, head: &str| rights.may(operation, &format!("{head}/{directory}{name}"));
    match name.ends_with('/') {
        true => may(Operation::List, "metadata") || may(Operation::Scan, "metadata"),
        false => may(Operation::Read, "data") || may(Operation::Read, "metadata"),
    }
}

/// Everything about a name but its data.
pub(super) fn read(name: &str, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let record = NameRecord::load(storage, name)?.ok_or_else(EngineError::not_found)?;
    Response::json(&NameView::new(&record))
}

/// Changes the settings that the body names; makes the name where it is not there yet. A body that
/// names none changes nothing.
pub(super) fn write(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let Object(body): Object<WriteBody> = request.parse()?;
    let change = Change::from(body);
    if change.is_empty() {
        return Ok(Response::empty());
    }
    let record = NameRecord::load(storage, name)?
        .unwrap_or_else(|| NameRecord::new(&request.unique, request.now_ms));
    settle(request, name, record, change, storage)
}

/// Changes the settings that the body names, takes away those it gives as `null`, and merges
/// `custom_metadata`. The name must be there.
pub(super) fn patch(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let Object(body): Object<PatchBody> = request.parse()?;
    let change = Change::from(body);
    let record = NameRecord::load(storage, name)?.ok_or_else(EngineError::not_found)?;
    if change.is_empty() {
        return Ok(Response::empty());
    }
    settle(request, name, record, change, storage)
}

fn settle(
    request: &Request,
    name: &str,
    mut record: NameRecord,
    change: Change,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let config = ConfigRecord::load(storage)?;
    let warnings = change.apply(&mut record, &config)?;
    record.touch(&request.caller, request.now_ms);
    record.store(storage, name)?;
    Ok(Response { warnings, ..Response::default() })
}

/// Removes a name and all its versions; no error where it is not there.
pub(super) fn delete(name: &str, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    if let Some(record) = NameRecord::load(storage, name)? {
        record.remove(storage, name)?;
    }
    Ok(Response::empty())
}

//! `detailed-metadata/*path`: names together with what is known about them, from one view.

use std::collections::BTreeMap;

use conclave_mount::{EngineError, Request, Response, Storage};
use serde::Serialize;

use super::metadata;
use super::record::NameRecord;
use super::view::NameView;
use crate::listing::{self, Page};

/// Names in one answer: each costs a row.
const NAMES_MAX: usize = 1_000;
/// Versions in one answer, over all names.
const VERSIONS_MAX: usize = 20_000;

/// The names at `directory` as `metadata/` lists them, and under `key_info` the metadata of those
/// that are no directories.
pub(super) fn list(
    request: &Request,
    directory: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let page = Page::of(request, NAMES_MAX)?;
    let mut names = metadata::names(request, directory, &page, storage)?;
    let (mut records, mut versions) = (BTreeMap::new(), 0);
    for (place, key) in names.keys.iter().enumerate() {
        if versions > VERSIONS_MAX {
            names.keys.truncate(place);
            names.more = true;
            break;
        }
        if key.ends_with('/') {
            continue;
        }
        let record = NameRecord::load(storage, &format!("{directory}{key}"))?
            .ok_or_else(|| EngineError::internal("a name that is listed has no record"))?;
        versions += record.versions.len();
        records.insert(key.clone(), record);
    }
    let key_info = records.iter().map(|(key, record)| (key, NameView::new(record))).collect();
    listing::answer(&DetailedView { key_info, keys: &names.keys }, &names.keys, names.more)
}

#[derive(Serialize)]
struct DetailedView<'a> {
    key_info: BTreeMap<&'a String, NameView<'a>>,
    keys: &'a [String],
}

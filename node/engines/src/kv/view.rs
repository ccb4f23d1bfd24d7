//! Versions and names as clients see them.

use std::collections::BTreeMap;

use conclave_mount::{format_duration, format_time};
use serde::Serialize;

use super::attribution::ActorView;
use super::record::{NameRecord, VersionMetadata};

/// A version's metadata beside its data.
#[derive(Serialize)]
pub(super) struct VersionView<'a> {
    created_time: String,
    custom_metadata: Option<&'a BTreeMap<String, String>>,
    deletion_time: String,
    destroyed: bool,
    version: u64,
}

impl<'a> VersionView<'a> {
    pub(super) fn new(record: &'a NameRecord, version: &VersionMetadata) -> Self {
        Self {
            created_time: format_time(version.created_ms),
            custom_metadata: record.custom_metadata_or_null(),
            deletion_time: format_time(version.deletion_ms),
            destroyed: version.destroyed,
            version: version.number,
        }
    }
}

/// Everything about a name but its data.
#[derive(Serialize)]
pub(super) struct NameView<'a> {
    cas_required: bool,
    created_time: String,
    current_metadata_version: u64,
    current_version: u64,
    custom_metadata: Option<&'a BTreeMap<String, String>>,
    delete_version_after: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated_by: Option<ActorView<'a>>,
    max_versions: u64,
    metadata_cas_required: bool,
    oldest_version: u64,
    updated_time: String,
    versions: BTreeMap<u64, HistoryView<'a>>,
}

/// A version in a name's history. Who is not known is left out.
#[derive(Serialize)]
struct HistoryView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<ActorView<'a>>,
    created_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_by: Option<ActorView<'a>>,
    deletion_time: String,
    destroyed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    destroyed_by: Option<ActorView<'a>>,
}

impl<'a> NameView<'a> {
    pub(super) fn new(record: &'a NameRecord) -> Self {
        let history = |version| HistoryView::new(record, version);
        Self {
            cas_required: record.cas_required,
            created_time: format_time(record.created_ms),
            current_metadata_version: record.metadata_version,
            current_version: record.current_version,
            custom_metadata: record.custom_metadata_or_null(),
            delete_version_after: format_duration(record.delete_version_after_ms),
            last_updated_by: ActorView::new(&record.actors, record.updated_by),
            max_versions: record.max_versions,
            metadata_cas_required: record.metadata_cas_required,
            oldest_version: record.oldest_version,
            updated_time: format_time(record.updated_ms),
            versions: record.versions.iter().map(|v| (v.number, history(v))).collect(),
        }
    }
}

impl<'a> HistoryView<'a> {
    fn new(record: &'a NameRecord, version: &VersionMetadata) -> Self {
        let actor = |index| ActorView::new(&record.actors, index);
        Self {
            created_by: actor(version.created_by),
            created_time: format_time(version.created_ms),
            deleted_by: actor(version.deleted_by),
            deletion_time: format_time(version.deletion_ms),
            destroyed: version.destroyed,
            destroyed_by: actor(version.destroyed_by),
        }
    }
}

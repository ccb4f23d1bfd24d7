//! `config`: the mount's own settings.

use std::fmt;

use conclave_mount::fields::{Flag, Object, Whole, present};
use conclave_mount::{
    BodyFields, EngineError, Kind, Request, Response, Storage, format_duration, parse_duration,
    word,
};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::record::{ConfigRecord, VERSIONS_MAX};

/// The settings in force.
pub(super) fn read(storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let config = ConfigRecord::load(storage)?;
    Response::json(&ConfigView {
        cas_required: config.cas_required,
        delete_version_after: match config.never_deletes {
            true => "-1s".to_owned(),
            false => format_duration(config.delete_version_after_ms),
        },
        max_versions: config.max_versions,
        metadata_cas_required: config.metadata_cas_required,
    })
}

/// Changes the settings that the body names.
pub(super) fn write(request: &Request, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let Object(body): Object<ConfigBody> = request.parse()?;
    let mut config = ConfigRecord::load(storage)?;
    let before = config.clone();
    if let Some(Whole(max_versions)) = body.max_versions {
        config.max_versions = check_max_versions(max_versions)?;
    }
    if let Some(Flag(cas_required)) = body.cas_required {
        config.cas_required = cas_required;
    }
    if let Some(Flag(required)) = body.metadata_cas_required {
        config.metadata_cas_required = required;
    }
    if let Some(after) = body.delete_version_after {
        config.never_deletes = after == DeleteAfter::Never;
        config.delete_version_after_ms = match after {
            DeleteAfter::Never => 0,
            DeleteAfter::Ms(ms) => ms,
        };
    }
    if config != before {
        config.store(storage)?;
    }
    Ok(Response::empty())
}

/// All versions of a name leave in one log entry with it, so that there can be only so many.
pub(super) fn check_max_versions(number: u64) -> Result<u64, EngineError> {
    if number <= VERSIONS_MAX {
        return Ok(number);
    }
    Err(EngineError::invalid(format!(
        "'max_versions' is above the limit of {VERSIONS_MAX}; give a lower number"
    )))
}

pub(super) const CONFIG: BodyFields = BodyFields::of::<ConfigBody>(&[
    word("max_versions", "How many versions of a secret are kept; 0 for the default."),
    word("cas_required", "Whether every write must name the version that it replaces."),
    word(
        "metadata_cas_required",
        "Whether every change of metadata must name the one that it replaces.",
    ),
    word("delete_version_after", "After how long a version is deleted; negative for never.")
        .holds(Kind::Duration),
]);

#[derive(Deserialize)]
struct ConfigBody {
    #[serde(default, deserialize_with = "present")]
    max_versions: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    cas_required: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    metadata_cas_required: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    delete_version_after: Option<DeleteAfter>,
}

/// A duration, or a negative one for a mount whose versions never go by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeleteAfter {
    Ms(u64),
    Never,
}

impl<'de> Deserialize<'de> for DeleteAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DeleteAfterVisitor)
    }
}

struct DeleteAfterVisitor;

impl Visitor<'_> for DeleteAfterVisitor {
    type Value = DeleteAfter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds or a duration such as 1h30m, negative for never")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<DeleteAfter, E> {
        let ms = seconds.checked_mul(1000).ok_or_else(|| E::custom("too long"))?;
        Ok(DeleteAfter::Ms(ms))
    }

    fn visit_i64<E: Error>(self, _negative: i64) -> Result<DeleteAfter, E> {
        Ok(DeleteAfter::Never)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<DeleteAfter, E> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        match (parse_duration(text), negative) {
            (Some(0), _) => Ok(DeleteAfter::Ms(0)),
            (Some(_), true) => Ok(DeleteAfter::Never),
            (Some(ms), false) => Ok(DeleteAfter::Ms(ms)),
            (None, _) => Err(E::custom("not a duration")),
        }
    }
}

#[derive(Serialize)]
struct ConfigView {
    cas_required: bool,
    delete_version_after: String,
    max_versions: u64,
    metadata_cas_required: bool,
}

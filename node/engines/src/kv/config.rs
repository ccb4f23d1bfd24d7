//! `config`: the mount's own settings.

use conclave_mount::{EngineError, Request, Response, Storage};
use serde::{Deserialize, Serialize};

use super::record::{ConfigRecord, VERSIONS_MAX};
use conclave_mount::fields::{DurationMs, Flag, Object, Whole, present};
use conclave_mount::format_duration;

/// The settings in force.
pub(super) fn read(storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let config = ConfigRecord::load(storage)?;
    Response::json(&ConfigView {
        cas_required: config.cas_required,
        delete_version_after: format_duration(config.delete_version_after_ms),
        max_versions: config.max_versions,
    })
}

/// Changes the settings that the body names.
pub(super) fn write(request: &Request, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let Object(settings): Object<Settings> = request.parse()?;
    settings.check()?;
    let mut config = ConfigRecord::load(storage)?;
    if let Some(Whole(max_versions)) = settings.max_versions {
        config.max_versions = max_versions;
    }
    if let Some(Flag(cas_required)) = settings.cas_required {
        config.cas_required = cas_required;
    }
    if let Some(DurationMs(after_ms)) = settings.delete_version_after {
        config.delete_version_after_ms = after_ms;
    }
    config.store(storage)?;
    Ok(Response::empty())
}

/// The settings that mounts and names share.
#[derive(Deserialize)]
pub(super) struct Settings {
    #[serde(default, deserialize_with = "present")]
    pub(super) max_versions: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    pub(super) cas_required: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    pub(super) delete_version_after: Option<DurationMs>,
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        match self.max_versions {
            Some(Whole(number)) if number > VERSIONS_MAX => Err(EngineError::invalid(format!(
                "'max_versions' is above the limit of {VERSIONS_MAX}; give a lower number"
            ))),
            _ => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct ConfigView {
    cas_required: bool,
    delete_version_after: String,
    max_versions: u64,
}

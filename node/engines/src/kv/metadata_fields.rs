//! What a name's metadata may be set to.

use std::collections::BTreeMap;

use conclave_mount::fields::{DurationMs, Flag, Whole, present};
use conclave_mount::{BodyFields, EngineError, ErrorCode, word};
use serde::{Deserialize, Deserializer};

use super::config::check_max_versions;
use super::record::{ConfigRecord, NameRecord};

const CUSTOM_KEYS_MAX: usize = 64;
const CUSTOM_KEY_BYTES_MAX: usize = 128;
const CUSTOM_VALUE_BYTES_MAX: usize = 512;

pub(super) const METADATA: BodyFields = BodyFields::of::<WriteBody>(&[
    word("max_versions", "How many versions are kept; 0 for the mount's setting."),
    word("cas_required", "Whether every write must name the version that it replaces."),
    word("delete_version_after", "After how long a version is deleted; 0 for the mount's setting."),
    word("custom_metadata", "Texts by name, for readers."),
    word("metadata_cas", "The number that the metadata must have."),
    word("metadata_cas_required", "Whether every change of metadata must name its number."),
]);

/// The body of a write: what is not named stays.
#[derive(Deserialize)]
pub(super) struct WriteBody {
    #[serde(default, deserialize_with = "present")]
    max_versions: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    cas_required: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    delete_version_after: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    custom_metadata: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "present")]
    metadata_cas: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    metadata_cas_required: Option<Flag>,
}

/// The body of a patch: `null` takes away what stood there.
#[derive(Deserialize)]
pub(super) struct PatchBody {
    #[serde(default, deserialize_with = "nullable")]
    max_versions: Option<Option<Whole>>,
    #[serde(default, deserialize_with = "nullable")]
    cas_required: Option<Option<Flag>>,
    #[serde(default, deserialize_with = "nullable")]
    delete_version_after: Option<Option<DurationMs>>,
    #[serde(default, deserialize_with = "nullable")]
    custom_metadata: Option<Option<BTreeMap<String, Option<String>>>>,
    #[serde(default, deserialize_with = "present")]
    metadata_cas: Option<Whole>,
    #[serde(default, deserialize_with = "nullable")]
    metadata_cas_required: Option<Option<Flag>>,
}

/// What is to change.
pub(super) struct Change {
    max_versions: Option<u64>,
    cas_required: Option<bool>,
    delete_version_after_ms: Option<u64>,
    custom: Custom,
    metadata_cas: Option<u64>,
    metadata_cas_required: Option<bool>,
}

/// What becomes of the users' own words.
enum Custom {
    Stays,
    Becomes(BTreeMap<String, String>),
    /// `None` takes a key away.
    Merges(BTreeMap<String, Option<String>>),
}

impl Change {
    /// Whether nothing is to change: then nothing is checked or made.
    pub(super) fn is_empty(&self) -> bool {
        let Self { max_versions, cas_required, delete_version_after_ms, .. } = self;
        max_versions.is_none()
            && cas_required.is_none()
            && delete_version_after_ms.is_none()
            && self.metadata_cas_required.is_none()
            && matches!(self.custom, Custom::Stays)
    }

    /// Applies it. What the mount demands whatever a name says comes back as warnings.
    pub(super) fn apply(
        self,
        record: &mut NameRecord,
        config: &ConfigRecord,
    ) -> Result<Vec<String>, EngineError> {
        self.check_cas(record, config)?;
        let warnings = self.warnings(config);
        if let Some(number) = self.max_versions {
            record.max_versions = check_max_versions(number)?;
        }
        if let Some(required) = self.cas_required {
            record.cas_required = required;
        }
        if let Some(after_ms) = self.delete_version_after_ms {
            record.delete_version_after_ms = after_ms;
        }
        if let Some(required) = self.metadata_cas_required {
            record.metadata_cas_required = required;
        }
        match self.custom {
            Custom::Stays => {}
            Custom::Becomes(custom) => record.custom_metadata = custom,
            Custom::Merges(changes) => merge(&mut record.custom_metadata, changes),
        }
        check_custom(&record.custom_metadata)?;
        record.metadata_version += 1;
        Ok(warnings)
    }

    fn check_cas(&self, record: &NameRecord, config: &ConfigRecord) -> Result<(), EngineError> {
        let message = match self.metadata_cas {
            Some(expected) if expected != record.metadata_version => {
                "metadata check-and-set parameter does not match the current version"
            }
            None if config.metadata_cas_required || record.metadata_cas_required => {
                "metadata check-and-set parameter required for this call"
            }
            _ => return Ok(()),
        };
        Err(EngineError::new(ErrorCode::CasMismatch, message))
    }

    fn warnings(&self, config: &ConfigRecord) -> Vec<String> {
        let fields = [
            ("cas_required", self.cas_required, config.cas_required),
            ("metadata_cas_required", self.metadata_cas_required, config.metadata_cas_required),
        ];
        fields
            .into_iter()
            .filter(|(_, given, mandated)| *given == Some(false) && *mandated)
            .map(|(field, ..)| {
                format!(
                    "\"{field}\" set to false, but is mandated by backend config. This value will \
                     be ignored."
                )
            })
            .collect()
    }
}

impl From<WriteBody> for Change {
    fn from(body: WriteBody) -> Self {
        Self {
            max_versions: body.max_versions.map(|Whole(number)| number),
            cas_required: body.cas_required.map(|Flag(flag)| flag),
            delete_version_after_ms: body.delete_version_after.map(|DurationMs(ms)| ms),
            custom: body.custom_metadata.map_or(Custom::Stays, Custom::Becomes),
            metadata_cas: body.metadata_cas.map(|Whole(number)| number),
            metadata_cas_required: body.metadata_cas_required.map(|Flag(flag)| flag),
        }
    }
}

impl From<PatchBody> for Change {
    fn from(body: PatchBody) -> Self {
        let flag = |field: Option<Option<Flag>>| field.map(|flag| flag.is_some_and(|Flag(f)| f));
        Self {
            max_versions: body.max_versions.map(|number| number.map_or(0, |Whole(n)| n)),
            cas_required: flag(body.cas_required),
            delete_version_after_ms: body
                .delete_version_after
                .map(|after| after.map_or(0, |DurationMs(ms)| ms)),
            custom: match body.custom_metadata {
                None => Custom::Stays,
                Some(None) => Custom::Becomes(BTreeMap::new()),
                Some(Some(changes)) => Custom::Merges(changes),
            },
            metadata_cas: body.metadata_cas.map(|Whole(number)| number),
            metadata_cas_required: flag(body.metadata_cas_required),
        }
    }
}

fn merge(custom: &mut BTreeMap<String, String>, changes: BTreeMap<String, Option<String>>) {
    for (key, value) in changes {
        match value {
            Some(value) => custom.insert(key, value),
            None => custom.remove(&key),
        };
    }
}

fn check_custom(custom: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let fits = |text: &str, bytes_max: usize| {
        (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    let all_fit = custom
        .iter()
        .all(|(key, value)| fits(key, CUSTOM_KEY_BYTES_MAX) && fits(value, CUSTOM_VALUE_BYTES_MAX));
    if custom.len() <= CUSTOM_KEYS_MAX && all_fit {
        return Ok(());
    }
    Err(EngineError::invalid(format!(
        "custom_metadata validation failed: at most {CUSTOM_KEYS_MAX} keys of 1 to \
         {CUSTOM_KEY_BYTES_MAX} bytes with values of 1 to {CUSTOM_VALUE_BYTES_MAX} bytes, all \
         printable; store more as a secret"
    )))
}

/// Tells `null` from a field that is not there; goes with `default`.
fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

//! `conclave kv metadata`: settings and history of a secret.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use conclave_sdk::Operation;
use serde_json::{Map, Value, json};

use super::place::Place;
use super::{Context, Failure};
use crate::answer;
use crate::commands::delete::deleted;
use crate::commands::read::nothing_at;
use crate::commands::write::written;
use crate::output::{self, Output};

/// Settings and history of a secret.
#[derive(Debug, Subcommand)]
pub(crate) enum Metadata {
    /// Show settings and history
    Get(Get),
    /// Change settings; all custom metadata is replaced
    Put(Put),
    /// Change settings; custom metadata that is not named stays
    Patch(Patch),
    /// Remove a secret with all versions and its history
    Delete(Delete),
}

impl Metadata {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::Get(get) => get.run(context).await,
            Self::Put(put) => put.settings.write(context, Operation::Write, &[]).await,
            Self::Patch(patch) => {
                patch.settings.write(context, Operation::Patch, &patch.remove_custom_metadata).await
            }
            Self::Delete(delete) => delete.run(context).await,
        }
    }
}

/// Show settings and history.
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    place: Place,
    /// Print only this field's value
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
}

impl Get {
    async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        self.place.check_name()?;
        let api = context.api().await?;
        let path = self.place.secret(&api).await?.versioned("metadata")?;
        let answer = api.read(&path, &BTreeMap::new()).await?;
        let answer = answer.ok_or_else(|| nothing_at(&path))?;
        if let Some(field) = &self.field {
            return answer::one_field(format, answer.data.get(field).cloned(), field);
        }
        if !format.is_table() {
            return Ok(Output::document(format, &answer.envelope()));
        }
        Ok(Output::good(render(&path, answer.object().unwrap_or(&Map::new()))))
    }
}

/// Settings first, then every version under a title of its own, the oldest first.
fn render(path: &str, data: &Map<String, Value>) -> String {
    let mut settings = data.clone();
    let versions = settings.remove("versions").unwrap_or_default();
    let mut text = output::titled_path("Metadata Path", path);
    text += "\n";
    text += &output::titled("Metadata", &settings);
    let mut versions: Vec<(u64, &Map<String, Value>)> = versions
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(number, version)| Some((number.parse().ok()?, version.as_object()?)))
        .collect();
    versions.sort_by_key(|(number, _)| *number);
    for (number, version) in versions {
        text += "\n";
        text += &output::titled(&format!("Version {number}"), version);
    }
    text
}

/// Change settings; all custom metadata is replaced.
#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    settings: Settings,
}

/// Change settings; custom metadata that is not named stays.
#[derive(Debug, Args)]
pub(crate) struct Patch {
    #[command(flatten)]
    settings: Settings,
    /// A key of the custom metadata to take away; may be repeated
    #[arg(long, value_name = "KEY")]
    remove_custom_metadata: Vec<String>,
}

#[derive(Debug, Args)]
struct Settings {
    #[command(flatten)]
    place: Place,
    /// How many versions are kept; 0: as many as the mount says
    #[arg(long, value_name = "COUNT")]
    max_versions: Option<u64>,
    /// Whether every write must name the version that it replaces
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    cas_required: Option<bool>,
    /// After this time a version is deleted by itself: 30m, 768h
    #[arg(long, value_name = "DURATION")]
    delete_version_after: Option<String>,
    /// key=value, shown to whoever reads the metadata; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    custom_metadata: Vec<String>,
}

impl Settings {
    async fn write(
        &self,
        context: &Context,
        operation: Operation,
        removed: &[String],
    ) -> Result<Output, Failure> {
        let format = context.format()?;
        self.place.check_name()?;
        let body = self.body(removed)?;
        let api = context.api().await?;
        let path = self.place.secret(&api).await?.versioned("metadata")?;
        let doing = format!("writing data to {path}");
        api.call(&doing, operation, &path, &BTreeMap::new(), Some(&body)).await?;
        Ok(written(format, &path))
    }

    fn body(&self, removed: &[String]) -> Result<Value, Failure> {
        let mut body = Map::new();
        if let Some(count) = self.max_versions {
            body.insert("max_versions".into(), count.into());
        }
        if let Some(required) = self.cas_required {
            body.insert("cas_required".into(), required.into());
        }
        if let Some(after) = &self.delete_version_after {
            body.insert("delete_version_after".into(), after.as_str().into());
        }
        let mut custom = Map::new();
        for pair in &self.custom_metadata {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Failure::local(format!("-custom-metadata takes key=value, and {pair:?} has no '='"))
            })?;
            custom.insert(key.to_owned(), value.into());
        }
        custom.extend(removed.iter().map(|key| (key.clone(), Value::Null)));
        if !custom.is_empty() {
            body.insert("custom_metadata".into(), custom.into());
        }
        Ok(json!(body))
    }
}

/// Remove a secret with all versions and its history.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    place: Place,
}

impl Delete {
    async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        self.place.check_name()?;
        let api = context.api().await?;
        let path = self.place.secret(&api).await?.versioned("metadata")?;
        api.delete(&format!("deleting {path}"), &path).await?;
        Ok(deleted(format, &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_settings_in_order() {
        let version = json!({"created_time": "t", "deletion_time": "", "destroyed": false});
        let data = json!({
            "current_version": 10, "max_versions": 0,
            "versions": {"10": version, "2": version},
        });
        let text = render("secret/metadata/a", data.as_object().expect("an object"));
        let at = |title: &str| text.find(title).unwrap_or_else(|| panic!("{title}: {text}"));
        assert!(at("Metadata Path") < at("current_version"), "{text}");
        assert!(at("Version 2") < at("Version 10"), "{text}");
    }
}

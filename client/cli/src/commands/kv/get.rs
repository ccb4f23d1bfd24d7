//! `conclave kv get`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value, json};

use super::place::{Place, Target};
use super::{Context, Failure};
use crate::answer::{self, Answer};
use crate::commands::context::Api;
use crate::commands::read::nothing_at;
use crate::output::{self, Output};
use crate::style::Style;

/// Read a secret.
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    place: Place,
    /// The version; without it the newest
    #[arg(long, value_name = "VERSION")]
    version: Option<u64>,
    /// Print only this field's value
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
}

impl Get {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        self.place.check_name()?;
        let api = context.api().await?;
        let target = self.place.secret(&api).await?;
        let path = target.path("data");
        let query = self.version.map(|version| ("version".to_owned(), version.to_string()));
        let answer = api.read(&path, &BTreeMap::from_iter(query)).await?;
        let answer = match answer {
            Some(answer) => answer,
            None => self.absent(context.style, &api, &target).await?,
        };
        if let Some(field) = &self.field {
            let found = if target.has_versions() { field_of(&answer.data, field) } else { None };
            let found = found.or_else(|| answer.data.get(field).cloned());
            return answer::one_field(format, found, field);
        }
        if !format.is_table() {
            return Ok(Output::document(format, &answer.envelope()));
        }
        let text = match target.has_versions() {
            true => render(&path, &answer.data),
            false => output::titled("Data", answer.object().unwrap_or(&Map::new())),
        };
        Ok(Output::good(text).with_notes(&answer.warning_text()))
    }

    /// A deleted version is told from one that never was, if the token may read the metadata.
    /// Scripts of other suites get it as an answer without data, for they know nothing else.
    async fn absent(&self, style: Style, api: &Api, target: &Target) -> Result<Answer, Failure> {
        let path = target.path("data");
        if !target.has_versions() {
            return Err(nothing_at(&path));
        }
        let metadata = api.read(&target.path("metadata"), &BTreeMap::new()).await;
        let metadata = metadata.ok().flatten().ok_or_else(|| nothing_at(&path))?;
        let told = deleted(&metadata.data, self.version).ok_or_else(|| nothing_at(&path))?;
        match style {
            Style::Conclave => Err(Failure::Server(told.in_words(&target.path("undelete")))),
            _ if self.field.is_some() => Err(Failure::Server(format!("No data found at {path}"))),
            _ => Ok(Answer { data: told.without_data(&metadata.data), ..metadata }),
        }
    }
}

/// A version without data.
#[derive(Debug, PartialEq, Eq)]
struct Deleted {
    version: u64,
    /// When it was deleted; `None` if its data was destroyed.
    at: Option<String>,
}

impl Deleted {
    fn in_words(&self, undelete: &str) -> String {
        let version = self.version;
        match &self.at {
            Some(at) => format!(
                "version {version} was deleted at {at}; write {{\"versions\": [{version}]}} to \
                 {undelete} to bring it back, or use 'kv undelete'"
            ),
            None => format!("version {version} was destroyed; read another one with -version"),
        }
    }

    /// The version as it would be read, taken from the secret's metadata.
    fn without_data(&self, metadata: &Value) -> Value {
        let version = &metadata["versions"][self.version.to_string()];
        json!({
            "data": null,
            "metadata": {
                "created_time": version["created_time"],
                "custom_metadata": metadata["custom_metadata"],
                "deletion_time": version["deletion_time"],
                "destroyed": version["destroyed"],
                "version": self.version,
            },
        })
    }
}

/// What a secret's metadata says of a version, of the newest if none is named.
fn deleted(metadata: &Value, version: Option<u64>) -> Option<Deleted> {
    let newest = || metadata.get("current_version")?.as_u64();
    let version = version.filter(|version| *version != 0).or_else(newest)?;
    let found = metadata.get("versions")?.get(version.to_string())?;
    if found.get("destroyed").and_then(Value::as_bool) == Some(true) {
        return Some(Deleted { version, at: None });
    }
    let at = found.get("deletion_time")?.as_str().filter(|time| !time.is_empty())?;
    Some(Deleted { version, at: Some(at.to_owned()) })
}

/// One field, of the data if it has it, else of the metadata.
fn field_of(answer: &Value, field: &str) -> Option<Value> {
    ["data", "metadata"].into_iter().find_map(|part| answer.get(part)?.get(field)).cloned()
}

fn render(path: &str, answer: &Value) -> String {
    let place = output::titled_path("Secret Path", path);
    let metadata = metadata_table(answer.get("metadata").and_then(Value::as_object));
    let Some(data) = answer.get("data").and_then(Value::as_object) else {
        return format!("{place}\n{metadata}");
    };
    let data = output::titled("Data", data);
    format!("{place}\n{metadata}\n{data}")
}

/// Who was written when, with words for what is absent.
pub(super) fn metadata_table(metadata: Option<&Map<String, Value>>) -> String {
    let mut metadata = metadata.cloned().unwrap_or_default();
    if let Some(time) = metadata.get_mut("deletion_time").filter(|time| *time == "") {
        *time = Value::from("n/a");
    }
    output::titled("Metadata", &metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        json!({
            "data": {"password": "s3cr3t", "user": "app"},
            "metadata": {
                "created_time": "2026-11-25T00:00:00Z", "custom_metadata": null,
                "deletion_time": "", "destroyed": false, "version": 3,
            },
        })
    }

    #[test]
    fn a_secret_is_shown_as_agreed() {
        crate::golden::check("output/kv-get.txt", &render("secret/data/app", &answer()));
    }

    #[test]
    fn a_deleted_version_has_metadata_only() {
        let mut answer = answer();
        answer["data"] = Value::Null;
        answer["metadata"]["deletion_time"] = json!("2026-11-25T01:00:00Z");
        crate::golden::check("output/kv-get-deleted.txt", &render("secret/data/app", &answer));
    }

    #[test]
    fn a_field_is_taken_from_data_first() {
        assert_eq!(field_of(&answer(), "password"), Some(json!("s3cr3t")));
        assert_eq!(field_of(&answer(), "version"), Some(json!(3)));
        assert_eq!(field_of(&answer(), "nothing"), None);
    }

    #[test]
    fn a_deleted_version_is_told_from_one_that_never_was() {
        let metadata = json!({"current_version": 3, "versions": {
            "1": {"deletion_time": "", "destroyed": true},
            "2": {"deletion_time": "", "destroyed": false},
            "3": {"deletion_time": "2026-11-25T01:00:00Z", "destroyed": false},
        }});
        let words = |version| Some(deleted(&metadata, version)?.in_words("secret/undelete/a"));
        let newest = words(None).expect("it was deleted");
        assert!(newest.starts_with("version 3 was deleted at 2026-11-25T01:00:00Z"), "{newest}");
        assert_eq!(words(Some(0)), words(Some(3)));
        assert!(words(Some(1)).expect("it is gone").contains("version 1 was destroyed"));
        assert_eq!((words(Some(2)), words(Some(4))), (None, None));
        assert_eq!(deleted(&json!({}), None), None);
    }

    #[test]
    fn a_deleted_version_is_an_answer_without_data_to_other_suites() {
        let metadata = json!({"current_version": 1, "custom_metadata": {"k": "v"}, "versions": {
            "1": {"created_time": "c", "deletion_time": "d", "destroyed": false},
        }});
        let told = deleted(&metadata, None).expect("it was deleted");
        let expected = json!({"data": null, "metadata": {
            "created_time": "c", "custom_metadata": {"k": "v"}, "deletion_time": "d",
            "destroyed": false, "version": 1,
        }});
        assert_eq!(told.without_data(&metadata), expected);
    }
}

//! `conclave kv get`.

use std::collections::BTreeMap;

use clap::Args;
use conclave_sdk::{Error, ErrorCode, Logical, Operation};
use serde_json::{Map, Value};

use super::{Context, Failure, Place};
use crate::output::{self, Format, Output};

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
        let path = self.place.secret_path("data")?;
        let query = self.version.map(|version| ("version".to_owned(), version.to_string()));
        let query = BTreeMap::from_iter(query);
        let logical = context.client().await?.logical();
        let answer = match logical.call_with_query(Operation::Read, &path, &query, None).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                return Err(self.absent(&logical, error).await);
            }
            answer => answer?,
        };
        let answer_data = answer.value()?;
        if let Some(field) = &self.field {
            return single(&answer_data, field);
        }
        Ok(match format {
            Format::Json => {
                Output::json(&output::envelope(&answer.request_id, &answer_data, &answer.warnings))
            }
            Format::Table => Output::good(render(&path, &answer_data)),
        })
    }
}

impl Get {
    /// Says of a deleted version that it is one, if the token may read the metadata.
    async fn absent(&self, logical: &Logical, error: Error) -> Failure {
        let metadata = async {
            let path = self.place.secret_path("metadata").ok()?;
            let answer = logical.call(Operation::Read, &path, None).await.ok()?;
            deleted(&answer.value().ok()?, self.version)
        };
        let Some(told) = metadata.await else { return error.into() };
        match self.place.secret_path("undelete") {
            Ok(path) => Failure::Server(told.in_words(&path)),
            Err(failure) => failure,
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
                 {undelete} to bring it back"
            ),
            None => format!("version {version} was destroyed; read another one with -version"),
        }
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
fn single(answer: &Value, field: &str) -> Result<Output, Failure> {
    let found = ["data", "metadata"].into_iter().find_map(|part| answer.get(part)?.get(field));
    match found {
        Some(value) => Ok(output::single(value)),
        None => {
            Err(Failure::local(format!("the secret has no field {field:?}; look without -field")))
        }
    }
}

fn render(path: &str, answer: &Value) -> String {
    let place = output::titled("Secret Path", &format!("{path}\n"));
    let metadata = metadata_table(answer.get("metadata").and_then(Value::as_object));
    let Some(data) = answer.get("data").and_then(Value::as_object) else {
        return format!("{place}\n{metadata}");
    };
    let data = output::titled("Data", &output::object_table(data));
    format!("{place}\n{metadata}\n{data}")
}

/// Who was written when, with words for what is absent.
pub(super) fn metadata_table(metadata: Option<&Map<String, Value>>) -> String {
    let mut metadata = metadata.cloned().unwrap_or_default();
    if let Some(time) = metadata.get_mut("deletion_time").filter(|time| *time == "") {
        *time = Value::from("n/a");
    }
    output::titled("Metadata", &output::object_table(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let text = |field| single(&answer(), field).map(|output| output.text.trim_end().to_owned());
        assert_eq!(text("password").expect("it is there"), "s3cr3t");
        assert_eq!(text("version").expect("it is there"), "3");
        assert_eq!(text("nothing").expect_err("it is not there").exit_code(), 1);
    }

    #[test]
    fn a_deleted_version_is_told_from_one_that_never_was() {
        let metadata = json!({"current_version": 3, "versions": {
            "1": {"deletion_time": "", "destroyed": true},
            "2": {"deletion_time": "", "destroyed": false},
            "3": {"deletion_time": "2026-11-25T01:00:00Z", "destroyed": false},
        }});
        let words = |version| Some(deleted(&metadata, version)?.in_words("secret/undelete/a"));
        let newest = "version 3 was deleted at 2026-11-25T01:00:00Z; write {\"versions\": [3]} to \
                      secret/undelete/a to bring it back";
        assert_eq!(words(None).as_deref(), Some(newest));
        assert_eq!(words(Some(0)), words(Some(3)));
        assert!(words(Some(1)).expect("it is gone").contains("version 1 was destroyed"));
        assert_eq!((words(Some(2)), words(Some(4))), (None, None));
        assert_eq!(deleted(&json!({}), None), None);
    }
}

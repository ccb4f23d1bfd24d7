//! `conclave kv put`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::place::{Place, Target};
use super::{Context, Failure};
use crate::answer::{self, Answer};
use crate::commands::write::written;
use crate::output::{self, Format, Output};
use crate::values;

/// Write a secret.
#[derive(Args)]
pub(crate) struct Put {
    #[command(flatten)]
    place: Place,
    /// Write only if this is the current version; 0: only if there is none
    #[arg(long, value_name = "VERSION")]
    cas: Option<u64>,
    /// Print only this field of what was written: `version`
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// key=value, key=@file, key=- (standard input), @file.json or - (JSON on standard input)
    #[arg(value_name = "DATA", required = true)]
    data: Vec<String>,
}

impl std::fmt::Debug for Put {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Put").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Put {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        self.place.check_name()?;
        let data = values::parse(&self.data, std::io::stdin())?;
        let api = context.api().await?;
        let target = self.place.secret(&api).await?;
        let body = match target.has_versions() {
            true => json!({ "data": data, "options": options(self.cas) }),
            false if self.cas.is_some() => {
                return Err(Failure::local("-cas needs a mount with versions".into()));
            }
            false => Value::Object(data),
        };
        let path = target.path("data");
        let answer = api.write(&format!("writing data to {path}"), &path, &body).await?;
        show_written(format, &target, &answer, self.field.as_deref())
    }
}

/// `options` of a body.
pub(super) fn options(cas: Option<u64>) -> Value {
    cas.map_or_else(|| json!({}), |cas| json!({ "cas": cas }))
}

/// The path and the new version's metadata.
pub(super) fn show_written(
    format: Format,
    target: &Target,
    answer: &Answer,
    field: Option<&str>,
) -> Result<Output, Failure> {
    let path = target.path("data");
    if let Some(field) = field {
        return answer::one_field(format, answer.data.get(field).cloned(), field);
    }
    if answer.is_empty() {
        return Ok(written(format, &path));
    }
    Ok(match format.is_table() {
        true => Output::good(render(&path, answer.object())).with_notes(&answer.warning_text()),
        false => Output::document(format, &answer.envelope()),
    })
}

fn render(path: &str, metadata: Option<&Map<String, Value>>) -> String {
    let place = output::titled_path("Secret Path", path);
    let metadata = super::get::metadata_table(metadata);
    format!("{place}\n{metadata}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_shown_as_agreed() {
        let metadata = json!({
            "created_time": "2026-11-25T00:00:00Z", "custom_metadata": null,
            "deletion_time": "", "destroyed": false, "version": 3,
        });
        let text = render("secret/data/app", metadata.as_object());
        crate::golden::check("output/kv-put.txt", &text);
    }
}

//! `conclave kv put`.

use clap::Args;
use conclave_sdk::Operation;
use serde_json::{Map, Value, json};

use super::{Context, Failure, Place};
use crate::output::{self, Format, Output};
use crate::values;

/// Write a new version of a secret.
#[derive(Args)]
pub(crate) struct Put {
    #[command(flatten)]
    place: Place,
    /// Write only if this is the current version; 0: only if there is none
    #[arg(long, value_name = "VERSION")]
    cas: Option<u64>,
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
        let path = self.place.secret_path("data")?;
        let data = values::parse(&self.data, std::io::stdin())?;
        let options = self.cas.map(|cas| json!({ "cas": cas })).unwrap_or(json!({}));
        let body = json!({ "data": data, "options": options });
        let logical = context.client().await?.logical();
        let answer = logical.call(Operation::Write, &path, Some(&body)).await?;
        let metadata = answer.value()?;
        Ok(match format {
            Format::Json => {
                Output::json(&output::envelope(&answer.request_id, &metadata, &answer.warnings))
            }
            Format::Table => Output::good(render(&path, metadata.as_object())),
        })
    }
}

/// The path and the new version's metadata.
fn render(path: &str, metadata: Option<&Map<String, Value>>) -> String {
    let place = output::titled("Secret Path", &format!("{path}\n"));
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

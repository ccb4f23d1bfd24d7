//! `conclave kv delete`.

use clap::Args;
use conclave_sdk::Operation;
use serde_json::json;

use super::{Context, Failure, Place};
use crate::output::{self, Format, Output};

/// Delete versions of a secret.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    place: Place,
    /// The versions, with commas; without it the newest
    #[arg(long, value_name = "VERSIONS", value_delimiter = ',')]
    versions: Vec<u64>,
}

impl Delete {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let path = self.place.secret_path("data")?;
        let chosen = self.place.secret_path("delete")?;
        let logical = context.client().await?.logical();
        let answer = if self.versions.is_empty() {
            logical.call(Operation::Delete, &path, None).await?
        } else {
            let body = json!({ "versions": self.versions });
            logical.call(Operation::Write, &chosen, Some(&body)).await?
        };
        Ok(match format {
            Format::Json => Output::json(&output::envelope(
                &answer.request_id,
                &answer.value()?,
                &answer.warnings,
            )),
            Format::Table => {
                Output::good(format!("Success! Data deleted (if it existed) at: {path}\n"))
            }
        })
    }
}

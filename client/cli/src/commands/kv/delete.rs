//! `conclave kv delete`.

use clap::Args;
use serde_json::json;

use super::place::Place;
use super::{Context, Failure};
use crate::commands::delete::deleted;
use crate::output::Output;

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
        self.place.check_name()?;
        let api = context.api().await?;
        let target = self.place.secret(&api).await?;
        let path = target.path("data");
        let doing = format!("deleting {path}");
        if self.versions.is_empty() {
            api.delete(&doing, &path).await?;
        } else {
            let body = json!({ "versions": self.versions });
            api.write(&doing, &target.versioned("delete")?, &body).await?;
        }
        Ok(deleted(format, &path))
    }
}

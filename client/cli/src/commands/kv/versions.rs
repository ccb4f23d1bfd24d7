//! `conclave kv undelete` and `conclave kv destroy`.

use clap::Args;
use serde_json::json;

use super::place::Place;
use super::{Context, Failure};
use crate::commands::write::written;
use crate::output::Output;

/// Bring deleted versions of a secret back.
#[derive(Debug, Args)]
pub(crate) struct Undelete {
    #[command(flatten)]
    chosen: Chosen,
}

/// Remove the data of versions of a secret for good.
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Debug, Args)]
struct Chosen {
    #[command(flatten)]
    place: Place,
    /// The versions, with commas
    #[arg(long, value_name = "VERSIONS", value_delimiter = ',', required = true)]
    versions: Vec<u64>,
}

impl Undelete {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        self.chosen.write(context, "undelete").await
    }
}

impl Destroy {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        self.chosen.write(context, "destroy").await
    }
}

impl Chosen {
    async fn write(&self, context: &Context, kind: &str) -> Result<Output, Failure> {
        let format = context.format()?;
        self.place.check_name()?;
        let api = context.api().await?;
        let path = self.place.secret(&api).await?.versioned(kind)?;
        let body = json!({ "versions": self.versions });
        api.write(&format!("writing data to {path}"), &path, &body).await?;
        Ok(written(format, &path))
    }
}

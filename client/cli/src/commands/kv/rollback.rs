//! `conclave kv rollback`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::place::Place;
use super::put::{options, show_written};
use super::{Context, Failure};
use crate::commands::read::nothing_at;
use crate::output::Output;

/// Make an old version the newest again.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    place: Place,
    /// The version to go back to
    #[arg(long, value_name = "VERSION")]
    version: u64,
}

impl Rollback {
    /// The new version is written only if nobody wrote one since it was looked up.
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        self.place.check_name()?;
        let api = context.api().await?;
        let target = self.place.secret(&api).await?;
        let metadata_path = target.versioned("metadata")?;
        let metadata = api.read(&metadata_path, &BTreeMap::new()).await?;
        let metadata = metadata.ok_or_else(|| nothing_at(&metadata_path))?;
        let current = metadata.data["current_version"].as_u64().unwrap_or(0);
        let path = target.path("data");
        let query = BTreeMap::from([("version".to_owned(), self.version.to_string())]);
        let old = api.read(&path, &query).await?;
        let data = old.map(|mut old| old.data["data"].take()).filter(Value::is_object);
        let data = data.ok_or_else(|| {
            let version = self.version;
            Failure::Server(format!("version {version} of {path} has no data; choose another one"))
        })?;
        let body = json!({ "data": data, "options": options(Some(current)) });
        let answer = api.write(&format!("writing data to {path}"), &path, &body).await?;
        show_written(format, &target, &answer, None)
    }
}

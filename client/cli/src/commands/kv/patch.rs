//! `conclave kv patch`.

use std::collections::BTreeMap;

use clap::Args;
use conclave_sdk::Operation;
use serde_json::json;

use super::place::Place;
use super::put::{options, show_written};
use super::{Context, Failure};
use crate::output::Output;
use crate::values;

/// Change some fields of a secret; the others stay. Needs a mount with versions.
#[derive(Args)]
pub(crate) struct Patch {
    #[command(flatten)]
    place: Place,
    /// Write only if this is the current version
    #[arg(long, value_name = "VERSION")]
    cas: Option<u64>,
    /// Print only this field of what was written: `version`
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// key=value, key=@file, key=- (standard input), @file.json or - (JSON on standard input). A
    /// field that is null in JSON is taken away
    #[arg(value_name = "DATA", required = true)]
    data: Vec<String>,
}

impl std::fmt::Debug for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patch").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Patch {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        self.place.check_name()?;
        let data = values::parse(&self.data, std::io::stdin())?;
        let api = context.api().await?;
        let target = self.place.secret(&api).await?;
        let path = target.versioned("data")?;
        let body = json!({ "data": data, "options": options(self.cas) });
        let doing = format!("writing data to {path}");
        let none = BTreeMap::new();
        let answer = api.call(&doing, Operation::Patch, &path, &none, Some(&body)).await?;
        show_written(format, &target, &answer, self.field.as_deref())
    }
}

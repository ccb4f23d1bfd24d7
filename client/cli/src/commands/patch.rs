//! `conclave patch`.

use clap::Args;
use conclave_sdk::Operation;

use super::write::Change;
use super::{Context, Failure};
use crate::output::Output;

/// Change some fields of what a path has.
#[derive(Args)]
pub(crate) struct Patch {
    /// Print only this field's value of the answer
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// Send no data
    #[arg(short, long)]
    force: bool,
    /// The path, as the API has it
    #[arg(value_name = "PATH")]
    path: String,
    /// key=value, key=@file, key=- (standard input), @file.json or - (JSON on standard input). A
    /// field that is null in JSON is taken away
    #[arg(value_name = "DATA")]
    data: Vec<String>,
}

impl std::fmt::Debug for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patch").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Patch {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let change = Change { operation: Operation::Patch, field: self.field.as_deref() };
        change.make(context, &self.path, &self.data, self.force).await
    }
}

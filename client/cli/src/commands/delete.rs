//! `conclave delete`.

use clap::Args;
use conclave_sdk::Operation;

use super::{Context, Failure, path};
use crate::output::{Format, Output};
use crate::values;

/// Delete a path.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Print only this field's value of the answer
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// The path, as the API has it
    #[arg(value_name = "PATH")]
    path: String,
    /// Parameters, key=value
    #[arg(value_name = "DATA")]
    data: Vec<String>,
}

impl Delete {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let path = path::clean(&self.path)?;
        let query = path::query(&values::parse(&self.data, std::io::stdin())?);
        let doing = format!("deleting {path}");
        let api = context.api().await?;
        let answer = api.call(&doing, Operation::Delete, &path, &query, None).await?;
        if answer.is_empty() && self.field.is_none() {
            return Ok(deleted(format, &path));
        }
        answer.show(format, self.field.as_deref())
    }
}

/// Scripts look for these words.
pub(crate) fn deleted(format: Format, path: &str) -> Output {
    Output::done(format, &format!("Success! Data deleted (if it existed) at: {path}"))
}

//! `conclave read`.

use clap::Args;

use super::{Context, Failure, path};
use crate::output::Output;
use crate::values;

/// Read a path.
#[derive(Debug, Args)]
pub(crate) struct Read {
    /// Print only this field's value
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// The path, as the API has it: `secret/data/app`
    #[arg(value_name = "PATH")]
    path: String,
    /// Parameters, key=value
    #[arg(value_name = "DATA")]
    data: Vec<String>,
}

impl Read {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let path = path::clean(&self.path)?;
        let query = path::query(&values::parse(&self.data, std::io::stdin())?);
        let answer = context.api().await?.read(&path, &query).await?;
        let answer = answer.ok_or_else(|| nothing_at(&path))?;
        answer.show(format, self.field.as_deref())
    }
}

/// Scripts look for these words.
pub(crate) fn nothing_at(path: &str) -> Failure {
    Failure::Server(format!("No value found at {path}"))
}

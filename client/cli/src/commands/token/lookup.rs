//! `conclave token lookup`.

use clap::Args;

use super::{Context, Failure, Subject};
use crate::output::Output;

/// Show a token.
#[derive(Args)]
pub(crate) struct Lookup {
    /// The word is an accessor; the token's text is not shown then
    #[arg(long)]
    accessor: bool,
    /// Print only this field's value
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// The token; without it, the one that asks
    #[arg(value_name = "TOKEN")]
    subject: Option<String>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("accessor", &self.accessor).finish_non_exhaustive()
    }
}

impl Lookup {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let subject = Subject::new(self.subject.as_deref(), self.accessor)?;
        let (path, body) = subject.request("lookup");
        let answer = context.api().await?.write("looking up token", &path, &body).await?;
        answer.show(format, self.field.as_deref())
    }
}

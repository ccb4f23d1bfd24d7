//! `conclave token renew`.

use clap::Args;

use super::{Context, Failure, Subject};
use crate::output::Output;

/// Prolong a token.
#[derive(Args)]
pub(crate) struct Renew {
    /// The word is an accessor
    #[arg(long)]
    accessor: bool,
    /// For how long from now; the cluster may grant less
    #[arg(short, long, value_name = "DURATION")]
    increment: Option<String>,
    /// Print only this field's value
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// The token; without it, the one that asks
    #[arg(value_name = "TOKEN")]
    subject: Option<String>,
}

impl std::fmt::Debug for Renew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renew").field("accessor", &self.accessor).finish_non_exhaustive()
    }
}

impl Renew {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let subject = Subject::new(self.subject.as_deref(), self.accessor)?;
        let (path, mut body) = subject.request("renew");
        if let Some(increment) = &self.increment {
            body["increment"] = increment.as_str().into();
        }
        let answer = context.api().await?.write("renewing token", &path, &body).await?;
        answer.show(format, self.field.as_deref())
    }
}

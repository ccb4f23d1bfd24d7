//! `conclave policy delete`.

use clap::Args;

use super::{Context, Failure, clean_name};
use crate::output::Output;

/// Delete a policy.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The policy
    #[arg(value_name = "NAME")]
    name: String,
}

impl Delete {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let name = clean_name(&self.name)?;
        let path = format!("sys/policies/acl/{name}");
        context.api().await?.delete(&format!("deleting {name}"), &path).await?;
        Ok(Output::done(format, &format!("Success! Deleted policy: {name}")))
    }
}

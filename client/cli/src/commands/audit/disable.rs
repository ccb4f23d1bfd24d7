//! `conclave audit disable`.

use clap::Args;

use super::{Context, Failure, path};
use crate::output::Output;

/// Disable an audit device.
#[derive(Debug, Args)]
pub(crate) struct Disable {
    /// Its name
    #[arg(value_name = "PATH")]
    path: String,
}

impl Disable {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let name = path::clean(&self.path)?;
        let api = context.api().await?;
        api.delete("disabling audit device", &format!("sys/audit/{name}")).await?;
        let done = format!("Success! Disabled audit device (if it was enabled) at: {name}/");
        Ok(Output::done(format, &done))
    }
}

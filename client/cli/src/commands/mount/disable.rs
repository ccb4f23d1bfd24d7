//! `disable`.

use clap::Args;

use super::{Context, Failure, Kind};
use crate::output::Output;

/// Disable a secrets engine or an auth method; all that it stores is deleted.
#[derive(Debug, Args)]
pub(crate) struct Disable {
    /// Where it is
    #[arg(value_name = "PATH")]
    path: String,
}

impl Disable {
    pub(crate) async fn run(&self, kind: Kind, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let mount = kind.mount(&self.path)?;
        let doing = format!("disabling {} at {mount}/", kind.words());
        let path = format!("{}/{mount}", kind.table());
        context.api().await?.delete(&doing, &path).await?;
        let words = kind.words();
        Ok(Output::done(format, &format!("Success! Disabled {words} (if it existed) at: {mount}/")))
    }
}

//! `conclave audit`: audit devices and logs.

mod anchors;
mod disable;
mod enable;
mod list;
mod verify;

use clap::Subcommand;

use super::{Context, Failure, path};
use crate::output::Output;

/// Audit devices and logs.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Enable an audit device
    Enable(enable::Enable),
    /// Disable an audit device
    Disable(disable::Disable),
    /// List the audit devices
    List(list::List),
    /// Check that no line of a log is missing or was changed
    Verify(verify::Verify),
}

impl Audit {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::Enable(enable) => enable.run(context).await,
            Self::Disable(disable) => disable.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Verify(verify) => verify.run(context).await,
        }
    }
}

//! `conclave operator remove-peer`.

use clap::Args;

use super::{Context, Failure, success};
use crate::output::Output;

/// Remove a member.
#[derive(Debug, Args)]
pub(crate) struct RemovePeer {
    /// The member's name, or its id as `operator members` shows it
    #[arg(value_name = "NAME-OR-ID")]
    server_id: String,
}

impl RemovePeer {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        context.client().await?.operator().remove_member(&self.server_id).await?;
        Ok(success(format, "The member is removed."))
    }
}

//! `conclave operator members remove|promote|demote`.

use clap::Args;

use super::{Context, Failure, success};
use crate::output::Output;

/// Remove a member.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The member's name, or its id as `operator members` shows it
    #[arg(value_name = "NAME-OR-ID")]
    server_id: String,
}

/// Make a learner a voter.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The member's name, or its id as `operator members` shows it
    #[arg(value_name = "NAME-OR-ID")]
    server_id: String,
}

/// Make a voter a learner.
#[derive(Debug, Args)]
pub(crate) struct Demote {
    /// The member's name, or its id as `operator members` shows it
    #[arg(value_name = "NAME-OR-ID")]
    server_id: String,
}

impl Remove {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        context.client().await?.operator().remove_member(&self.server_id).await?;
        Ok(success(format, "The member is removed."))
    }
}

impl Promote {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        context.client().await?.operator().promote_member(&self.server_id).await?;
        Ok(success(format, "The member is a voter."))
    }
}

impl Demote {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        context.client().await?.operator().demote_member(&self.server_id).await?;
        Ok(success(format, "The member is a learner."))
    }
}

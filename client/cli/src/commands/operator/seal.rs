//! `conclave operator seal`.

use clap::Args;

use super::{Context, Failure, success};
use crate::output::Output;

/// Seal a node.
#[derive(Debug, Args)]
pub(crate) struct Seal {
    /// Seal every member, the leader last
    #[arg(long)]
    all: bool,
}

impl Seal {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let operator = context.client().await?.operator();
        if !self.all {
            operator.seal(&context.node_address()?).await?;
            return Ok(success(format, "The node is sealed."));
        }
        let mut members = operator.members().await?;
        // The leader goes last, so that leadership does not wander through nodes about to seal.
        members.sort_by_key(|member| member.leader);
        for member in &members {
            operator.seal(&member.api_addr).await?;
        }
        Ok(success(format, "All nodes are sealed."))
    }
}

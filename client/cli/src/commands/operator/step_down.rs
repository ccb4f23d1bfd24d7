//! `conclave operator step-down`.

use clap::Args;

use super::{Context, Failure, success};
use crate::output::Output;

/// Make the leader hand leadership to another node.
#[derive(Debug, Args)]
pub(crate) struct StepDown {}

impl StepDown {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        context.client().await?.operator().step_down().await?;
        Ok(success(format, "The leader has stepped down."))
    }
}

//! `conclave print`: what this program would use.

use clap::Subcommand;
use serde_json::json;

use super::{Context, Failure};
use crate::output::Output;

/// What this program would use.
#[derive(Debug, Subcommand)]
pub(crate) enum Print {
    /// Print the token that the next command would act with
    Token,
}

impl Print {
    pub(crate) fn run(&self, context: &Context) -> Result<Output, Failure> {
        let Self::Token = self;
        let format = context.format()?;
        let token = context.token()?.unwrap_or_default();
        Ok(if format.is_table() {
            Output::good(format!("{token}\n"))
        } else {
            Output::document(format, &json!({ "token": token }))
        })
    }
}

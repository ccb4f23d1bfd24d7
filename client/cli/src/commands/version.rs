//! `conclave version`.

use clap::Args;
use serde_json::json;

use super::{Context, Failure};
use crate::output::{Format, Output};

/// Show the version of this program
#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(&self, context: &Context) -> Result<Output, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        Ok(match context.format()? {
            Format::Table => Output::good(format!("Conclave v{version}\n")),
            Format::Json => Output::json(&json!({ "version": version })),
        })
    }
}

//! `conclave version`.

use clap::Args;
use serde_json::json;

use super::{Context, Failure};
use crate::output::Output;
use crate::style::Style;

/// Show the version of this program
#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        Ok(if format.is_table() {
            Output::good(line(context.style))
        } else {
            Output::document(format, &json!({ "version": context.style.version() }))
        })
    }
}

/// The second word is the version in every style.
pub(crate) fn line(style: Style) -> String {
    let (product, version) = (style.product(), style.version());
    match style {
        Style::Conclave => format!("{product} v{version}\n"),
        Style::Vault | Style::Bao => {
            format!("{product} v{version} (conclave {})\n", env!("CARGO_PKG_VERSION"))
        }
    }
}

//! `conclave operator rotate`.

use clap::Args;
use serde_json::json;

use super::{Context, Failure, key_status};
use crate::output::Output;

/// Encrypt what is written from now on with a new key.
#[derive(Debug, Args)]
pub(crate) struct Rotate {}

impl Rotate {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let api = context.api().await?;
        api.write("rotating key", "sys/rotate", &json!({})).await?;
        let status = key_status::ask(&api).await?;
        let shown = key_status::render(&status, format);
        if !format.is_table() {
            return Ok(shown);
        }
        Ok(Output::good(format!("Success! Rotated key\n\n{}", shown.text)))
    }
}

//! `conclave policy write`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Context, Failure, clean_name, read_text};
use crate::output::Output;

/// Write a policy.
#[derive(Debug, Args)]
pub(crate) struct Write {
    /// The policy
    #[arg(value_name = "NAME")]
    name: String,
    /// A file with its text, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Write {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let name = clean_name(&self.name)?;
        let body = json!({ "policy": read_text(&self.file)? });
        let path = format!("sys/policies/acl/{name}");
        let answer = context.api().await?.write("uploading policy", &path, &body).await?;
        let done = Output::done(format, &format!("Success! Uploaded policy: {name}"));
        Ok(done.with_notes(&answer.warning_text()))
    }
}

//! `conclave policy read`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Failure, clean_name};
use crate::output::{Format, Output};

/// Print a policy.
#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The policy
    #[arg(value_name = "NAME")]
    name: String,
}

impl Read {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let name = clean_name(&self.name)?;
        let path = format!("sys/policies/acl/{name}");
        let answer = context.api().await?.read(&path, &BTreeMap::new()).await?;
        let text = answer.as_ref().and_then(|answer| answer.data.get("policy")?.as_str());
        let text = text.ok_or_else(|| Failure::Server(format!("No policy named: {name}")))?;
        Ok(render(text, format))
    }
}

fn render(text: &str, format: Format) -> Output {
    if format.is_table() {
        return Output::good(format!("{}\n", text.trim()));
    }
    let policy: Value = json!({ "policy": text });
    Output::document(format, &policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_was_written() {
        let text = "\npath \"a\" {\n}\n\n";
        assert_eq!(render(text, Format::Table).text, "path \"a\" {\n}\n");
        assert!(render(text, Format::Raw).text.starts_with("{\"policy\":\"\\npath "));
    }
}

//! `conclave path-help`.

use std::collections::BTreeMap;

use clap::Args;
use conclave_sdk::Operation;
use serde_json::Value;

use super::{Context, Failure, path};
use crate::answer::Answer;
use crate::output::{Format, Output};

/// What a path is for, and what it takes; as JSON or YAML, the OpenAPI document about it.
#[derive(Debug, Args)]
pub(crate) struct PathHelp {
    /// The path, as the API has it: `auth/token/create`
    #[arg(value_name = "PATH")]
    path: String,
}

impl PathHelp {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let path = path::clean(&self.path)?;
        of_path(context, &path).await
    }
}

/// What the cluster says of a path.
pub(crate) async fn of_path(context: &Context, path: &str) -> Result<Output, Failure> {
    let format = context.format()?;
    let query = BTreeMap::from([("help".to_owned(), "1".to_owned())]);
    let doing = format!("retrieving help for {path}");
    let api = context.api().await?;
    let answer = api.call(&doing, Operation::Read, path, &query, None).await?;
    show(&answer, format, path)
}

fn show(answer: &Answer, format: Format, path: &str) -> Result<Output, Failure> {
    let no_help = || Failure::Server(format!("No help is there for {path}"));
    if !format.is_table() {
        let document = answer.data.get("openapi").ok_or_else(no_help)?;
        return Ok(Output::document(format, document));
    }
    let help = answer.data.get("help").and_then(Value::as_str).ok_or_else(no_help)?;
    Ok(Output::good(format!("{}\n", help.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_get_the_text_and_scripts_the_document() {
        let openapi = json!({"openapi": "3.0.2"});
        let data = json!({"help": "Makes a token.\n\n", "see_also": null, "openapi": openapi});
        let answer = Answer { data, ..Answer::default() };
        let shown = |format| show(&answer, format, "a").expect("there is help").text;
        assert_eq!(shown(Format::Table), "Makes a token.\n");
        assert_eq!(shown(Format::Raw).trim_end(), openapi.to_string());
        for format in [Format::Table, Format::Raw] {
            assert_eq!(show(&Answer::default(), format, "a").map_err(|e| e.exit_code()), Err(2));
        }
    }
}

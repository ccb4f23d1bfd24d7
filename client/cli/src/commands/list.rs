//! `conclave list`.

use clap::Args;
use serde_json::Value;

use super::read::nothing_at;
use super::{Context, Failure, path};
use crate::answer::{self, Answer};
use crate::output::{self, Format, Output};

/// List the names below a path.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print only this field of the answer
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// The path, as the API has it: `secret/metadata`
    #[arg(value_name = "PATH")]
    path: String,
}

impl List {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let path = path::clean(&self.path)?;
        let answer = context.api().await?.list(&path).await?;
        let answer = answer.ok_or_else(|| nothing_at(&path))?;
        match &self.field {
            Some(field) => answer::one_field(format, answer.data.get(field).cloned(), field),
            None => show(&answer, format, &path),
        }
    }
}

/// The names; scripts get the list alone.
pub(crate) fn show(answer: &Answer, format: Format, path: &str) -> Result<Output, Failure> {
    let keys =
        answer.keys().ok_or_else(|| Failure::Server(format!("No entries found at {path}")))?;
    if !format.is_table() {
        return Ok(Output::document(format, &Value::Array(keys.clone())));
    }
    let rows: Vec<Vec<String>> = keys.iter().map(|key| vec![output::plain(key)]).collect();
    Ok(Output::good(output::table(&["Keys"], &rows)).with_notes(&answer.warning_text()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_shown_as_agreed() {
        let answer = Answer { data: json!({"keys": ["app", "team/"]}), ..Answer::default() };
        let shown = |format| show(&answer, format, "a").expect("there are names").text;
        crate::golden::check("output/list.txt", &shown(Format::Table));
        crate::golden::check("output/list.json", &shown(Format::Json));
        crate::golden::check("output/list.yaml", &shown(Format::Yaml));
    }

    #[test]
    fn an_empty_list_is_two() {
        let answer = Answer { data: json!({"keys": []}), ..Answer::default() };
        let failure = show(&answer, Format::Json, "a/b").expect_err("nothing to show");
        assert_eq!(failure.to_string(), "No entries found at a/b");
        assert_eq!(failure.exit_code(), crate::EXIT_SERVER);
    }
}

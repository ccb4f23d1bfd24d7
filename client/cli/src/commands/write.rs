//! `conclave write`.

use clap::Args;
use conclave_sdk::Operation;
use serde_json::Value;

use super::{Context, Failure, path};
use crate::answer::Answer;
use crate::output::{Format, Output};
use crate::values;

/// Write to a path.
#[derive(Args)]
pub(crate) struct Write {
    /// Print only this field's value of the answer
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// Write without data, which some paths take for an order
    #[arg(short, long)]
    force: bool,
    /// The path, as the API has it: `auth/userpass/users/bob`
    #[arg(value_name = "PATH")]
    path: String,
    /// key=value, key=@file, key=- (standard input), @file.json or - (JSON on standard input)
    #[arg(value_name = "DATA")]
    data: Vec<String>,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Write {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let change = Change { operation: Operation::Write, field: self.field.as_deref() };
        change.make(context, &self.path, &self.data, self.force).await
    }
}

/// What `write` and `patch` share.
pub(crate) struct Change<'a> {
    pub(crate) operation: Operation,
    pub(crate) field: Option<&'a str>,
}

impl Change<'_> {
    pub(crate) async fn make(
        &self,
        context: &Context,
        path: &str,
        data: &[String],
        force: bool,
    ) -> Result<Output, Failure> {
        let format = context.format()?;
        let path = path::clean(path)?;
        if data.is_empty() && !force {
            return Err(Failure::local("Must supply data or use -force".into()));
        }
        let body = Value::Object(values::parse(data, std::io::stdin())?);
        let doing = format!("writing data to {path}");
        let query = std::collections::BTreeMap::new();
        let api = context.api().await?;
        let answer = api.call(&doing, self.operation, &path, &query, Some(&body)).await?;
        self.show(format, &answer, &path)
    }

    fn show(&self, format: Format, answer: &Answer, path: &str) -> Result<Output, Failure> {
        if answer.is_empty() && self.field.is_none() {
            return Ok(written(format, path));
        }
        answer.show(format, self.field)
    }
}

/// Scripts look for these words.
pub(crate) fn written(format: Format, path: &str) -> Output {
    Output::done(format, &format!("Success! Data written to: {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_without_data_is_a_sentence_for_people_and_nothing_for_scripts() {
        let change = |field| Change { operation: Operation::Write, field };
        let empty = Answer::default();
        let text = |format| change(None).show(format, &empty, "a/b").expect("shown").text;
        assert_eq!(text(Format::Table), "Success! Data written to: a/b\n");
        assert_eq!(text(Format::Json), "");
        assert!(change(Some("x")).show(Format::Table, &empty, "a/b").is_err());
        let answer = Answer { data: json!({"x": 1}), ..Answer::default() };
        let field = change(Some("x")).show(Format::Table, &answer, "a/b").expect("shown").text;
        assert_eq!(field.trim(), "1");
    }
}

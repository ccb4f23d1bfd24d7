//! `conclave policy list`.

use clap::Args;
use serde_json::Value;

use super::{Context, Failure};
use crate::answer::Answer;
use crate::output::{self, Format, Output};

/// List the names of all policies.
#[derive(Debug, Args)]
pub(crate) struct List {}

impl List {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let answer = context.api().await?.list("sys/policies/acl").await?;
        Ok(render(&answer.unwrap_or_default(), format))
    }
}

/// One name a line, for scripts that read lines.
fn render(answer: &Answer, format: Format) -> Output {
    let names = answer.keys().cloned().unwrap_or_default();
    if !format.is_table() {
        return Output::document(format, &Value::Array(names));
    }
    Output::good(names.iter().map(|name| output::plain(name) + "\n").collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_stand_on_lines_of_their_own() {
        let answer = Answer { data: json!({"keys": ["default", "root"]}), ..Answer::default() };
        assert_eq!(render(&answer, Format::Table).text, "default\nroot\n");
        assert_eq!(render(&answer, Format::Raw).text, "[\"default\",\"root\"]\n");
        assert_eq!(render(&Answer::default(), Format::Raw).text, "[]\n");
    }
}

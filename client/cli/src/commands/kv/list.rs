//! `conclave kv list`.

use clap::Args;
use conclave_sdk::Operation;
use serde_json::Value;

use super::{Context, Failure, Place};
use crate::output::{self, Format, Output};

/// List the names below a path.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Place,
}

impl List {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let mut path = self.place.api_path("metadata")?;
        if !path.ends_with('/') {
            path.push('/');
        }
        let logical = context.client().await?.logical();
        let answer = logical.call(Operation::List, &path, None).await?;
        Ok(render(&answer.value()?, format))
    }
}

fn render(answer: &Value, format: Format) -> Output {
    let keys = answer.get("keys").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
    if format == Format::Json {
        return Output::json(&keys);
    }
    let keys = keys.as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = keys.iter().map(|key| vec![output::plain(key)]).collect();
    Output::good(output::table(&["Keys"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_shown_as_agreed() {
        let answer = json!({"keys": ["app", "team/"]});
        crate::golden::check("output/kv-list.txt", &render(&answer, Format::Table).text);
        crate::golden::check("output/kv-list.json", &render(&answer, Format::Json).text);
    }
}

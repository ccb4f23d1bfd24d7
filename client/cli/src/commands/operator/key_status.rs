//! `conclave operator key-status`.

use std::collections::BTreeMap;

use clap::Args;
use conclave_sdk::Operation;

use super::{Context, Failure};
use crate::answer::Answer;
use crate::commands::Api;
use crate::output::{self, Format, Output};

/// Show the key that encrypts what is written.
#[derive(Debug, Args)]
pub(crate) struct KeyStatus {}

impl KeyStatus {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let status = ask(&context.api().await?).await?;
        Ok(render(&status, format))
    }
}

pub(super) async fn ask(api: &Api) -> Result<Answer, Failure> {
    let query = BTreeMap::new();
    api.call("reading key status", Operation::Read, "sys/key-status", &query, None).await
}

pub(super) fn render(status: &Answer, format: Format) -> Output {
    if !format.is_table() {
        return Output::document(format, &status.data);
    }
    let text = |name: &str| status.data.get(name).map(output::plain).unwrap_or_default();
    let rows = [
        ("Key Term", text("term")),
        ("Install Time", text("install_time")),
        ("Encryption Count", text("encryptions")),
    ];
    Output::good(output::columns(&rows.map(|(title, value)| vec![title.to_owned(), value])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_key_is_shown_as_agreed() {
        let data = json!({"term": 2, "install_time": "2026-11-25T00:00:00Z", "encryptions": 7});
        let status = Answer { data, ..Answer::default() };
        crate::golden::check("output/key-status.txt", &render(&status, Format::Table).text);
    }
}

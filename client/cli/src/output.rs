//! Answers as text: tables for people, JSON for scripts.

use std::io::IsTerminal;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// What goes to standard output, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) code: u8,
}

impl Output {
    /// Text of a success.
    pub(crate) fn good(text: String) -> Self {
        Self { text, code: crate::EXIT_GOOD }
    }

    /// A JSON document of a success.
    pub(crate) fn json(value: &Value) -> Self {
        Self::good(pretty(value))
    }
}

/// JSON as people read it.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// What the suites that read this JSON expect around an answer's data.
pub(crate) fn envelope(request_id: &str, data: &Value, warnings: &[String]) -> Value {
    json!({
        "request_id": request_id,
        "lease_id": "",
        "lease_duration": 0,
        "renewable": false,
        "data": data,
        "warnings": (!warnings.is_empty()).then_some(warnings),
    })
}

/// Rows under a header and a rule, columns four spaces apart.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_row(header);
    table.add_row(header.iter().map(|title| "-".repeat(title.len())));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// A `Key`/`Value` table of a JSON object.
pub(crate) fn object_table(object: &Map<String, Value>) -> String {
    let rows: Vec<Vec<String>> =
        object.iter().map(|(key, value)| vec![key.clone(), plain(value)]).collect();
    table(&["Key", "Value"], &rows)
}

/// A title, centred in a rule as wide as the table below it.
pub(crate) fn titled(title: &str, table: &str) -> String {
    let wide = table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let free = wide.saturating_sub(title.chars().count() + 2).max(4);
    let (left, right) = ("=".repeat(free / 2), "=".repeat(free - free / 2));
    format!("{left} {title} {right}\n{table}")
}

/// A value as a person writes it: text without quotes, the rest as JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// One value alone. A line end is added for a terminal only, so that scripts get the exact bytes.
pub(crate) fn single(value: &Value) -> Output {
    let end = if std::io::stdout().is_terminal() { "\n" } else { "" };
    Output::good(plain(value) + end)
}

/// A stored value must not steer the terminal that shows it.
fn printable(cell: &str) -> String {
    let escape = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if !cell.contains(escape) {
        return cell.to_owned();
    }
    let shown = |letter: char| {
        if escape(letter) { letter.escape_default().to_string() } else { letter.to_string() }
    };
    cell.chars().map(shown).collect()
}

/// Spaces between columns.
const COLUMN_GAP: u16 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn tables_are_as_agreed() {
        let object = json!({"password": "s3cr3t", "port": 5432, "tags": ["a"], "none": null});
        let text = object_table(object.as_object().expect("an object"));
        golden::check("output/object.txt", &titled("Data", &text));
        golden::check("output/narrow.txt", &titled("Secret Path", "secret/data/a\n"));
    }

    #[test]
    fn the_envelope_is_as_agreed() {
        let answer = envelope("id-1", &json!({"keys": ["a"]}), &["old".to_owned()]);
        golden::check("output/envelope.json", &pretty(&answer));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let object = json!({"k": "\u{1b}[2Jx\ny"});
        let text = object_table(object.as_object().expect("an object"));
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains("\\u{1b}[2Jx"), "{text:?}");
    }
}

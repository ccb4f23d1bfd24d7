//! Answers as text: tables for people, JSON and YAML for scripts.

use std::io::IsTerminal;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::{Map, Value};

use crate::{duration, yaml};

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// One JSON document on one line.
    Raw,
}

impl Format {
    /// Whether a person reads it.
    pub(crate) fn is_table(self) -> bool {
        self == Self::Table
    }
}

/// What goes to standard output and to standard error, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) text: String,
    /// For standard error.
    pub(crate) notes: String,
    pub(crate) code: u8,
}

impl Output {
    /// Text of a success.
    pub(crate) fn good(text: String) -> Self {
        Self { text, notes: String::new(), code: crate::EXIT_GOOD }
    }

    /// A success with nothing to say.
    pub(crate) fn silent() -> Self {
        Self::good(String::new())
    }

    /// A sentence for people; scripts learn the same from the exit code.
    pub(crate) fn done(format: Format, sentence: &str) -> Self {
        if format.is_table() { Self::good(format!("{sentence}\n")) } else { Self::silent() }
    }

    /// A JSON document of a success, in any format but a table.
    pub(crate) fn document(format: Format, value: &Value) -> Self {
        Self::good(match format {
            Format::Yaml => yaml::document(value),
            Format::Raw => format!("{value}\n"),
            Format::Table | Format::Json => pretty(value),
        })
    }

    /// The same under another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The same with words on standard error.
    pub(crate) fn with_notes(self, notes: &str) -> Self {
        Self { notes: self.notes + notes, ..self }
    }
}

/// JSON as people read it.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Rows under a header and a rule, columns four spaces apart. An empty cell is `n/a`.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let head = header.iter().map(|title| (*title).to_owned()).collect();
    let rule = header.iter().map(|title| "-".repeat(title.len())).collect();
    let all: Vec<Vec<String>> = [head, rule].into_iter().chain(rows.iter().cloned()).collect();
    columns(&all)
}

/// The same without a header.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
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

/// Rows of two columns.
pub(crate) fn pairs<K: Into<String>>(rows: impl IntoIterator<Item = (K, String)>) -> String {
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(key, value)| vec![key.into(), value]).collect();
    table(&["Key", "Value"], &rows)
}

/// A `Key`/`Value` table of a JSON object.
pub(crate) fn object_table(object: &Map<String, Value>) -> String {
    pairs(object.iter().map(|(key, value)| (key.as_str(), cell(key, value))))
}

/// A field's value in a table.
pub(crate) fn cell(field: &str, value: &Value) -> String {
    duration::of_field(field, value).unwrap_or_else(|| plain(value))
}

/// A title in a rule that is as wide as the keys below it and the word `Value`.
pub(crate) fn titled(title: &str, object: &Map<String, Value>) -> String {
    let longest = object.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    format!("{}\n{}", ruled(title, longest + VALUE_COLUMN), object_table(object))
}

/// A path under a title.
pub(crate) fn titled_path(title: &str, path: &str) -> String {
    format!("{}\n{path}\n", ruled(title, path.chars().count()))
}

/// A title in a rule, as wide as it can be made with both sides equal.
pub(crate) fn ruled(title: &str, wide: usize) -> String {
    let free = wide.saturating_sub(title.chars().count() + 2);
    let side = "=".repeat(if free == 0 { 2 } else { free.div_ceil(2) });
    format!("{side} {title} {side}")
}

/// A value as Go prints it, which scripts have learnt to take apart: text without quotes, `[a b]`,
/// `map[k:v]`.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(plain))),
        Value::Object(object) => {
            let pairs = object.iter().map(|(key, value)| format!("{key}:{}", plain(value)));
            format!("map[{}]", joined(pairs))
        }
        other => other.to_string(),
    }
}

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// One value alone. A line end is added for a terminal only, so that scripts get the exact bytes.
pub(crate) fn single(format: Format, value: &Value) -> Output {
    let end = if std::io::stdout().is_terminal() { "\n" } else { "" };
    match format {
        Format::Table | Format::Raw => Output::good(plain(value) + end),
        Format::Json | Format::Yaml => {
            let document = Output::document(format, value);
            Output::good(document.text.trim_end().to_owned() + end)
        }
    }
}

/// A stored value must not steer the terminal that shows it.
fn printable(cell: &str) -> String {
    if cell.is_empty() {
        return "n/a".to_owned();
    }
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
/// The gap and the word `Value`.
const VALUE_COLUMN: usize = 4 + 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use serde_json::json;

    fn object(value: &Value) -> &Map<String, Value> {
        value.as_object().expect("an object")
    }

    #[test]
    fn tables_are_as_agreed() {
        let value = json!({
            "password": "s3cr3t", "port": 5432, "tags": ["a", "b"], "none": null, "empty": "",
            "map": {"k": [1], "z": true}, "token_ttl": 5400,
        });
        golden::check("output/object.txt", &titled("Data", object(&value)));
        golden::check("output/narrow.txt", &titled_path("Secret Path", "secret/data/a"));
    }

    #[test]
    fn rules_are_as_wide_as_scripts_expect() {
        assert_eq!(ruled("Secret Path", 13), "== Secret Path ==");
        assert_eq!(ruled("Metadata", 24), "======= Metadata =======");
        assert_eq!(ruled("Data", 17), "====== Data ======");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let text = object_table(object(&json!({"k": "\u{1b}[2Jx\ny"})));
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains("\\u{1b}[2Jx"), "{text:?}");
    }

    #[test]
    fn one_value_is_shown_in_every_format() {
        let value = json!({"a": ["b", 1]});
        let shown = |format| single(format, &value).text.trim_end().to_owned();
        assert_eq!(shown(Format::Table), "map[a:[b 1]]");
        assert_eq!(shown(Format::Json), "{\n  \"a\": [\n    \"b\",\n    1\n  ]\n}");
        assert_eq!(shown(Format::Yaml), "a:\n- b\n- 1");
    }
}

//! JSON values as YAML 1.2 block text.
//!
//! Only writing is needed, and every JSON string is a YAML double-quoted scalar, so all that has to
//! be decided is where a bare word is surely read back as the same text. The crates that could do
//! it bring a parser along, and the one that everybody used is archived.

use serde_json::{Map, Value};

/// The document, with a line end.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(object) if !object.is_empty() => write_object(&mut text, object, 0),
        Value::Array(items) if !items.is_empty() => write_list(&mut text, items, 0),
        scalar => {
            text.push_str(&inline(scalar));
            text.push('\n');
        }
    }
    text
}

fn write_object(text: &mut String, object: &Map<String, Value>, depth: usize) {
    for (key, value) in object {
        indent(text, depth);
        text.push_str(&word(key));
        text.push(':');
        write_value(text, value, depth);
    }
}

fn write_value(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            text.push('\n');
            write_object(text, object, depth + 1);
        }
        // A list may stand as deep as its key.
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            write_list(text, items, depth);
        }
        scalar => {
            text.push(' ');
            text.push_str(&inline(scalar));
            text.push('\n');
        }
    }
}

fn write_list(text: &mut String, items: &[Value], depth: usize) {
    for item in items {
        indent(text, depth);
        text.push('-');
        match item {
            // The first key stands behind the dash.
            Value::Object(object) if !object.is_empty() => {
                let mut inner = String::new();
                write_object(&mut inner, object, depth + 1);
                text.push(' ');
                text.push_str(inner.trim_start());
            }
            Value::Array(_) => write_value(text, item, depth + 1),
            scalar => write_value(text, scalar, depth),
        }
    }
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        // Null, booleans, numbers, `{}` and `[]` are spelt as in JSON.
        other => other.to_string(),
    }
}

/// Bare where no reader can take it for anything but this text.
fn word(text: &str) -> String {
    let first = text.chars().next().is_some_and(|letter| letter.is_ascii_alphabetic());
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
    // Words that a reader of YAML 1.1 or 1.2 has another meaning for.
    let lower = text.to_ascii_lowercase();
    let taken = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];
    if first && text.chars().all(plain) && !taken.contains(&lower.as_str()) {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

fn indent(text: &mut String, depth: usize) {
    text.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_as_agreed() {
        let value = json!({
            "auth": null,
            "data": {
                "keys": ["a", "team/", "1", ""], "nested": [[1, 2], {"a": 1, "b": [true]}],
                "empty": {}, "none": [], "text": "line\nline", "yes": "yes", "time": "2026-11-25",
                "odd: key": "x # y", "float": 1.5, "path": "secret/data/a",
            },
        });
        crate::golden::check("output/document.yaml", &document(&value));
    }

    #[test]
    fn scalars_alone() {
        assert_eq!(document(&json!("a b")), "\"a b\"\n");
        assert_eq!(document(&json!([])), "[]\n");
        assert_eq!(document(&json!(["a"])), "- a\n");
        assert_eq!(document(&json!(12)), "12\n");
    }
}

//! Any text ends in a body or an error, and what is printed is read back.

use proptest::prelude::*;

use super::print;
use crate::number::Number;
use crate::{Body, Element, Item, Key, Position, Value, parse};

const PLACE: Position = Position { line: 1, column: 1 };

/// Pieces of the grammar in any order reach further than random characters.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "path", "\"b\"", "\"", "{", "}", "[", "]", "=", ",", ":", "\n", "\r\n", " ", "#",
        "//", "/*", "*/", "<<", "<<-", "EOT", "\nEOT\n", "${", "$", "\\", "\\u", "\\x", "\\777",
        "d800", "0", "0x", "-", ".", "1e", "9", "true", "null", "\u{feff}", "é", "\0", "\t",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
    ]
    .prop_map(|text| Value::Number(Number::new(text)))
}

fn body(keys_max: usize) -> impl Strategy<Value = Body> {
    let leaf = prop_oneof![
        ".*".prop_filter("no text has it", |text: &String| !text.contains('\0'))
            .prop_map(Value::String),
        "[$\\{\\}\"\\\\\n\r\tab]{0,12}".prop_map(Value::String),
        number(),
        any::<bool>().prop_map(Value::Bool),
    ];
    let value = leaf.prop_recursive(4, 40, 5, move |inner| {
        let elements = prop::collection::vec(inner.clone(), 0..5).prop_map(|values| {
            let element = |value| Element { value, position: PLACE };
            Value::List(values.into_iter().map(element).collect())
        });
        prop_oneof![elements, items(inner, keys_max).prop_map(Value::Object)]
    });
    items(value, keys_max)
}

fn items(value: impl Strategy<Value = Value>, keys_max: usize) -> impl Strategy<Value = Body> {
    let key = prop_oneof!["[a-z_][a-z0-9_.-]{0,6}", "[^\0]{0,6}"];
    let keys = prop::collection::vec(key, 1..=keys_max);
    prop::collection::vec((keys, value), 0..5).prop_map(|pairs| {
        let item = |(keys, value): (Vec<String>, Value)| {
            // Only a block may have several keys.
            let count = if matches!(value, Value::Object(_)) { keys.len() } else { 1 };
            let key = |text| Key { text, position: PLACE };
            Item { keys: keys.into_iter().take(count).map(key).collect(), value, position: PLACE }
        };
        Body { items: pairs.into_iter().map(item).collect() }
    })
}

fn hcl(body: &Body) -> String {
    let items = body.items.iter().map(|item| {
        let keys: Vec<_> = item.keys.iter().map(|key| quote(&key.text)).collect();
        let assign = if keys.len() == 1 { "=" } else { "" };
        format!("{} {assign} {}\n", keys.join(" "), hcl_value(&item.value))
    });
    items.collect()
}

fn hcl_value(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => number.as_str().into(),
        Value::Bool(flag) => flag.to_string(),
        Value::List(elements) => {
            let elements: Vec<_> = elements.iter().map(|one| hcl_value(&one.value)).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::Object(body) => format!("{{\n{}}}", hcl(body)),
    }
}

fn quote(text: &str) -> String {
    let escaped = text.chars().map(|character| match character {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '$' => "\\u0024".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        other => other.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn json(body: &Body) -> String {
    let items = body.items.iter().map(|item| {
        let key = serde_json::to_string(&item.keys[0].text).unwrap();
        format!("{key}: {}", json_value(&item.value))
    });
    format!("{{{}}}", items.collect::<Vec<_>>().join(",\n"))
}

fn json_value(value: &Value) -> String {
    match value {
        Value::String(text) => serde_json::to_string(text).unwrap(),
        Value::List(elements) => {
            let elements: Vec<_> = elements.iter().map(|one| json_value(&one.value)).collect();
            format!("[{}]", elements.join(","))
        }
        Value::Object(body) => json(body),
        other => hcl_value(other),
    }
}

proptest! {
    #[test]
    fn any_text_ends_well(text in "(?s).{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("{{{text}"));
        let _ = parse(&format!("a = \"{text}"));
    }

    #[test]
    fn any_pieces_end_well(text in pieces(), cut in any::<prop::sample::Index>()) {
        let _ = parse(&text);
        let _ = parse(&format!("{{\"a\": {text}"));
        let cuts: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
        if !cuts.is_empty() {
            let _ = parse(&text[*cut.get(&cuts)..]);
        }
    }

    #[test]
    fn an_error_stands_within_the_text(text in pieces()) {
        if let Err(error) = parse(&text) {
            let lines = text.split('\n').count();
            prop_assert!(error.position.line as usize <= lines, "{error}");
            prop_assert!(error.position.column as usize <= text.chars().count() + 1, "{error}");
            prop_assert!(error.position >= PLACE && !error.message.is_empty());
        }
    }

    #[test]
    fn printed_hcl_is_read_back(body in body(3)) {
        let again = parse(&hcl(&body));
        prop_assert_eq!(again.map(|again| print(&again)), Ok(print(&body)));
    }

    #[test]
    fn hcl_and_json_say_the_same(body in body(1)) {
        let again = parse(&json(&body));
        prop_assert_eq!(again.map(|again| print(&again)), Ok(print(&body)));
    }

    #[test]
    fn windows_line_ends_change_nothing(body in body(3)) {
        let again = parse(&hcl(&body).replace('\n', "\r\n"));
        prop_assert_eq!(again.map(|again| print(&again)), Ok(print(&body)));
    }
}

//! One print of a body, which every table here compares.

mod accepted;
mod bounds;
mod properties;
mod read;
mod refused;

use crate::{Body, Value};

/// `[keys]=value` for each item, without positions: `[path a]={[ttl]=1}`.
fn print(body: &Body) -> String {
    let items = body.items.iter().map(|item| {
        let keys = item.keys.iter().map(|key| escape(&key.text));
        format!("[{}]={}", keys.collect::<Vec<_>>().join(" "), print_value(&item.value))
    });
    items.collect::<Vec<_>>().join(" ")
}

fn print_value(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", escape(text)),
        Value::Number(number) => number.as_str().into(),
        Value::Bool(flag) => flag.to_string(),
        Value::List(elements) => {
            let elements = elements.iter().map(|element| print_value(&element.value));
            format!("[{}]", elements.collect::<Vec<_>>().join(" "))
        }
        Value::Object(body) => format!("{{{}}}", print(body)),
    }
}

fn escape(text: &str) -> String {
    text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

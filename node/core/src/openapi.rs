//! The API as a document (OpenAPI 3.0.2), made of the same tables that requests are routed by.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Operation;

/// One operation on one path.
pub(crate) struct Described {
    /// With its parameters as the route tables write them: `sys/mounts/*path`.
    pub(crate) pattern: String,
    pub(crate) operation: Operation,
    pub(crate) help: &'static str,
    pub(crate) sudo: bool,
    pub(crate) public: bool,
}

/// The document about these.
pub(crate) fn document(described: impl IntoIterator<Item = Described>) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for one in described {
        let path = format!("/{}", with_braces(&one.pattern));
        let entry = paths.entry(path).or_insert_with(|| head(&one));
        let name = method(one.operation);
        match entry.get_mut(name) {
            // GET reads or, with a parameter, lists.
            Some(there) => merge(there, &one),
            None => drop(entry.insert(name.into(), operation(&one))),
        }
    }
    json!({
        "openapi": "3.0.2",
        "info": {
            "title": "Conclave API",
            "description": "HTTP API of a cluster that keeps secrets. All paths stand below /v1.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": {"schemas": {}},
    })
}

/// What all operations on a path share.
fn head(one: &Described) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("description".into(), one.help.into());
    let parameters: Vec<Value> = parameters(&one.pattern)
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    if !parameters.is_empty() {
        entry.insert("parameters".into(), parameters.into());
    }
    if one.sudo {
        entry.insert("x-vault-sudo".into(), true.into());
    }
    if one.public {
        entry.insert("x-vault-unauthenticated".into(), true.into());
    }
    entry
}

fn operation(one: &Described) -> Value {
    let status = match one.operation {
        Operation::Delete => "204",
        _ => "200",
    };
    let mut made = json!({
        "summary": one.help,
        "operationId": operation_id(one),
        "tags": [one.pattern.split('/').next().unwrap_or_default()],
        "responses": {status: {"description": "OK"}},
    });
    if let Some(flag) = flag(one.operation) {
        made["parameters"] = json!([query(flag, true)]);
    }
    if matches!(one.operation, Operation::Write | Operation::Patch) {
        let media = match one.operation {
            Operation::Patch => "application/merge-patch+json",
            _ => "application/json",
        };
        made["requestBody"] = json!({"content": {media: {"schema": {"type": "object"}}}});
    }
    made
}

/// A path that can be read and listed has one GET whose parameter tells which is meant.
fn merge(there: &mut Value, one: &Described) {
    let mut parameters = there["parameters"].take().as_array().cloned().unwrap_or_default();
    parameters.extend(flag(one.operation).map(|flag| query(flag, true)));
    for parameter in &mut parameters {
        parameter["required"] = false.into();
    }
    there["parameters"] = parameters.into();
}

fn query(name: &str, required: bool) -> Value {
    let schema = json!({"type": "string", "enum": ["true"]});
    json!({"name": name, "in": "query", "required": required, "schema": schema})
}

fn method(operation: Operation) -> &'static str {
    match operation {
        Operation::Read | Operation::List | Operation::Scan => "get",
        Operation::Write => "post",
        Operation::Delete => "delete",
        Operation::Patch => "patch",
    }
}

/// The query parameter that makes a GET a list.
fn flag(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::List => Some("list"),
        Operation::Scan => Some("scan"),
        _ => None,
    }
}

fn operation_id(one: &Described) -> String {
    let words = one.pattern.split('/').map(|segment| segment.trim_start_matches([':', '*']));
    let path = words.collect::<Vec<_>>().join("-");
    format!("{}-{path}", one.operation.name())
}

fn with_braces(pattern: &str) -> String {
    let segment = |segment: &str| match segment.strip_prefix([':', '*']) {
        Some(name) => format!("{{{name}}}"),
        None => segment.to_owned(),
    };
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn parameters(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.split('/').filter_map(|segment| segment.strip_prefix([':', '*']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_listing_share_a_get() {
        let one = |operation| Described {
            pattern: "a/:name/*rest".into(),
            operation,
            help: "Helps.",
            sudo: true,
            public: false,
        };
        let made = document([one(Operation::Read), one(Operation::List), one(Operation::Write)]);
        let path = &made["paths"]["/a/{name}/{rest}"];
        assert_eq!(path["x-vault-sudo"], true);
        assert_eq!(path["parameters"].as_array().unwrap().len(), 2);
        assert_eq!(path["get"]["parameters"][0]["name"], "list");
        assert_eq!(path["get"]["parameters"][0]["required"], false);
        assert_eq!(path["post"]["operationId"], "update-a-name-rest");
        assert!(path["post"]["requestBody"]["content"]["application/json"].is_object());
    }
}

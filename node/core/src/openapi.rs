//! The API as a document (OpenAPI 3.0.2), made of the same tables that requests are routed by and of
//! the types that parse bodies.

use std::collections::{BTreeMap, BTreeSet};

use conclave_mount::{Field, Kind};
use serde_json::{Map, Value, json};

use crate::Operation;

/// One operation on one path.
#[derive(Clone)]
pub(crate) struct Described {
    /// With its parameters as the route tables write them: `sys/mounts/*path`.
    pub(crate) pattern: String,
    pub(crate) operation: Operation,
    pub(crate) help: &'static str,
    pub(crate) sudo: bool,
    /// Served without a token.
    pub(crate) public: bool,
    /// Whether a write may make what is not there yet.
    pub(crate) creates: bool,
    /// What its body may hold.
    pub(crate) fields: Vec<Field>,
    /// `system`, `auth` or `secrets`.
    pub(crate) tag: &'static str,
    /// Where the pattern stands for any mount of a type: where this one is.
    pub(crate) mounted_at: Option<String>,
}

/// The document about these. What is said twice, because two mounts share it, stands there once.
pub(crate) fn document(described: impl IntoIterator<Item = Described>) -> Value {
    let mut document = Document::default();
    for one in described {
        document.add(&one);
    }
    json!({
        "openapi": "3.0.2",
        "info": {
            "title": "Conclave API",
            "description": "HTTP API of a cluster that keeps secrets. All paths stand below /v1.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": document.paths,
        "components": {"schemas": document.schemas},
    })
}

#[derive(Default)]
struct Document {
    paths: BTreeMap<String, Map<String, Value>>,
    schemas: BTreeMap<String, Value>,
    /// Each path with the operations that it has.
    said: BTreeSet<(String, &'static str)>,
    ids: BTreeSet<String>,
}

impl Document {
    fn add(&mut self, one: &Described) {
        let path = format!("/{}", with_braces(&one.pattern));
        if !self.said.insert((path.clone(), one.operation.name())) {
            return;
        }
        let made = self.operation(one);
        let entry = self.paths.entry(path).or_insert_with(|| head(one));
        for (mark, holds) in [
            ("x-vault-sudo", one.sudo),
            ("x-vault-unauthenticated", one.public),
            ("x-vault-createSupported", one.creates && one.operation == Operation::Write),
        ] {
            if holds {
                entry.insert(mark.into(), true.into());
            }
        }
        let name = method(one.operation);
        match entry.get_mut(name) {
            // GET reads or, with a parameter, lists.
            Some(there) => merge(there, one),
            None => drop(entry.insert(name.into(), made)),
        }
    }

    fn operation(&mut self, one: &Described) -> Value {
        let (status, answer) = match one.operation {
            Operation::Delete => ("204", "empty body"),
            _ => ("200", "OK"),
        };
        let id = self.id(one);
        let mut made = json!({
            "summary": one.help,
            "operationId": id,
            "tags": [one.tag],
            "responses": {status: {"description": answer}},
        });
        if let Some(flag) = flag(one.operation) {
            made["parameters"] = json!([query(flag, true)]);
        }
        if !one.fields.is_empty() {
            let media = match one.operation {
                Operation::Patch => "application/merge-patch+json",
                _ => "application/json",
            };
            let name = schema_name(&id);
            let reference = format!("#/components/schemas/{name}");
            self.schemas.insert(name, schema(&one.fields));
            let required = one.fields.iter().any(|field| field.required);
            made["requestBody"] = json!({
                "required": required,
                "content": {media: {"schema": {"$ref": reference}}},
            });
        }
        made
    }

    /// Unique, and the same each time.
    fn id(&mut self, one: &Described) -> String {
        let verb = match one.operation {
            Operation::Write => "write",
            other => other.name(),
        };
        let words = one.pattern.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        let id = format!("{verb}-{}", words.join("-")).to_lowercase();
        let mut unique = id.clone();
        let mut count = 1;
        while !self.ids.insert(unique.clone()) {
            count += 1;
            unique = format!("{id}_{count}");
        }
        unique
    }
}

/// What all operations on a path share.
fn head(one: &Described) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("description".into(), one.help.into());
    let mut parameters: Vec<Value> = parameters(&one.pattern)
        .map(|name| match (&one.mounted_at, name.strip_suffix(MOUNT_PATH)) {
            (Some(path), Some(_)) => json!({
                "name": name, "in": "path", "required": true,
                "description": "Where the mount is.",
                "schema": {"type": "string", "default": path},
            }),
            _ => {
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
            }
        })
        .collect();
    parameters.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    if !parameters.is_empty() {
        entry.insert("parameters".into(), parameters.into());
    }
    entry
}

fn schema(fields: &[Field]) -> Value {
    let property = |field: &Field| {
        let mut property = kind(field.kind);
        property["description"] = field.about.into();
        (field.name.to_owned(), property)
    };
    let properties: Map<String, Value> = fields.iter().map(property).collect();
    let mut required: Vec<_> =
        fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    required.sort_unstable();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Whole => json!({"type": "integer"}),
        Kind::Number => json!({"type": "number", "format": "float"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Duration => json!({"type": "integer", "format": "seconds"}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Wholes => json!({"type": "array", "items": {"type": "integer"}}),
        Kind::List => json!({"type": "array", "items": {"type": "object"}}),
        Kind::Object => json!({"type": "object", "format": "map"}),
        Kind::Any => json!({}),
    }
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

/// `write-sys-mounts-path` as `WriteSysMountsPathRequest`.
fn schema_name(id: &str) -> String {
    let title = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    id.split('-').map(title).chain(["Request".to_owned()]).collect()
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

/// How the parameter ends that stands for a mount.
pub(crate) const MOUNT_PATH: &str = "_mount_path";

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pattern: &str, operation: Operation) -> Described {
        Described {
            pattern: pattern.into(),
            operation,
            help: "Helps.",
            sudo: operation == Operation::Write,
            public: false,
            creates: true,
            fields: Vec::new(),
            tag: "system",
            mounted_at: None,
        }
    }

    #[test]
    fn reading_and_listing_share_a_get_whose_parameters_stand_there_once() {
        use Operation::{List, Read, Scan, Write};
        let operations = [Read, List, Scan, Write, List, Read];
        let made = document(operations.map(|operation| one("a/:name/*rest", operation)));
        let path = &made["paths"]["/a/{name}/{rest}"];
        assert_eq!(path["x-vault-sudo"], true);
        assert_eq!(path["x-vault-createSupported"], true);
        assert_eq!(path["parameters"].as_array().unwrap().len(), 2);
        let names: Vec<_> = path["get"]["parameters"].as_array().unwrap().iter().collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!((&names[0]["name"], &names[1]["name"]), (&json!("list"), &json!("scan")));
        assert_eq!(names[0]["required"], false);
        assert_eq!(path["post"]["operationId"], "write-a-name-rest");
    }

    #[test]
    fn fields_are_a_schema_of_their_own() {
        let field = |name, kind, required| Field { name, kind, required, about: "Is it." };
        let fields = vec![
            field("ttl", Kind::Duration, false),
            field("names", Kind::Texts, true),
            field("any", Kind::Any, false),
        ];
        let made = document([Described { fields, ..one("a-b/c", Operation::Write) }]);
        let body = &made["paths"]["/a-b/c"]["post"]["requestBody"];
        assert_eq!(body["required"], true);
        let reference = &body["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(*reference, "#/components/schemas/WriteABCRequest");
        let schema = &made["components"]["schemas"]["WriteABCRequest"];
        assert_eq!(schema["required"], json!(["names"]));
        let ttl = json!({"type": "integer", "format": "seconds", "description": "Is it."});
        assert_eq!(schema["properties"]["ttl"], ttl);
        assert_eq!(schema["properties"]["any"], json!({"description": "Is it."}));
    }

    #[test]
    fn no_two_operations_have_one_id() {
        let made = document(["a-b/c", "a/b/c"].map(|pattern| one(pattern, Operation::Write)));
        assert_eq!(made["paths"]["/a-b/c"]["post"]["operationId"], "write-a-b-c");
        assert_eq!(made["paths"]["/a/b/c"]["post"]["operationId"], "write-a-b-c_2");
    }
}

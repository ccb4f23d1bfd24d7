//! JSON merge patch (RFC 7396) of secrets. Values that a patch does not touch keep their bytes, so
//! that no number loses a digit.

use std::collections::BTreeMap;

use bytes::Bytes;
use conclave_mount::EngineError;
use serde_json::value::{RawValue, to_raw_value};

/// How deep a patch may reach.
pub(super) const DEPTH_MAX: usize = 64;

/// The secret `before` changed by `patch`, both JSON objects.
///
/// # Errors
/// `InvalidRequest` where the patch is too deep.
pub(super) fn apply(before: &[u8], patch: &RawValue) -> Result<Bytes, EngineError> {
    let before: &RawValue =
        serde_json::from_slice(before).map_err(|_| EngineError::internal(DAMAGED))?;
    let merged = merge(Some(before), patch, 1)?;
    Ok(Bytes::copy_from_slice(merged.get().as_bytes()))
}

/// The fields of a JSON object; `None` for any other value.
pub(super) fn fields(value: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    value.get().trim_start().starts_with('{').then(|| serde_json::from_str(value.get()).ok())?
}

fn merge(
    before: Option<&RawValue>,
    patch: &RawValue,
    depth: usize,
) -> Result<Box<RawValue>, EngineError> {
    let Some(changes) = fields(patch) else { return Ok(patch.to_owned()) };
    if depth > DEPTH_MAX {
        return Err(EngineError::invalid(format!(
            "'data' is nested deeper than {DEPTH_MAX} levels; patch at a higher level"
        )));
    }
    let before = before.and_then(fields).unwrap_or_default();
    let mut merged = BTreeMap::new();
    for (name, change) in &changes {
        if change.get() != "null" {
            merged.insert(name, merge(before.get(name).copied(), change, depth + 1)?);
        }
    }
    for (name, value) in &before {
        if !changes.contains_key(name) {
            merged.insert(name, (*value).to_owned());
        }
    }
    to_raw_value(&merged).map_err(|_| EngineError::internal("a patch cannot be written as JSON"))
}

const DAMAGED: &str = "a version's data is no JSON";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn merged(before: &str, patch: &str) -> String {
        let patch: &RawValue = serde_json::from_str(patch).unwrap();
        String::from_utf8(apply(before.as_bytes(), patch).unwrap().to_vec()).unwrap()
    }

    /// The cases of RFC 7396, appendix A, whose documents are objects.
    #[test]
    fn the_examples_of_the_rfc() {
        let cases = [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ];
        for (before, patch, expected) in cases {
            assert_eq!(merged(before, patch), expected, "{before} {patch}");
        }
    }

    #[test]
    fn untouched_values_keep_their_bytes() {
        let before = r#"{"n": 1.000000000000000000001, "a" : [ 1 ]}"#;
        let expected = r#"{"a":[ 1 ],"b":2,"n":1.000000000000000000001}"#;
        assert_eq!(merged(before, r#"{"b": 2}"#), expected);
    }

    #[test]
    fn a_patch_without_a_bottom_is_refused() {
        for depth in [DEPTH_MAX + 1, 100_000] {
            let patch = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
            let patch: Box<RawValue> = RawValue::from_string(patch).unwrap();
            assert!(apply(b"{}", &patch).is_err());
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let patch = RawValue::from_string(format!("{{\"a\":{deep}}}")).unwrap();
        assert_eq!(apply(b"{}", &patch).unwrap(), format!("{{\"a\":{deep}}}").as_bytes());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(json!(null)), any::<i32>().prop_map(|n| json!(n))];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The algorithm as the RFC prints it.
    fn naive(target: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut target = match target {
            Value::Object(target) => target,
            _ => serde_json::Map::new(),
        };
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                let before = target.remove(name).unwrap_or(Value::Null);
                target.insert(name.clone(), naive(before, value));
            }
        }
        Value::Object(target)
    }

    proptest! {
        #[test]
        fn a_merge_is_the_rfcs(before in any_json(), patch in any_json()) {
            let (before, patch) = (json!({"x": before}), json!({"x": patch}));
            let text = merged(&before.to_string(), &patch.to_string());
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), naive(before, &patch));
        }
    }
}

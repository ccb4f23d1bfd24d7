//! `allowed_parameters` and `denied_parameters`: which names, with which values.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names of parameters, in lower case, each with the values it is about. No values stands for any
/// value; the name `*` for any name.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ParameterRules(BTreeMap<String, Vec<Value>>);

/// The name that stands for every name.
const ANY: &str = "*";

impl ParameterRules {
    /// Adds `values` for `name`.
    pub(crate) fn add(&mut self, name: &str, values: &[Value]) {
        let any = values.is_empty();
        let known = self.0.get_mut(&name.to_lowercase());
        match known {
            None => drop(self.0.insert(name.to_lowercase(), values.to_vec())),
            Some(known) if any || known.is_empty() => known.clear(),
            Some(known) => known.extend(values.iter().cloned()),
        }
    }

    /// Adds everything in `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (name, values) in &other.0 {
            self.add(name, values);
        }
    }

    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in lower case.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Read as `denied_parameters`: the name whose rule forbids `name` to be `value`.
    pub(super) fn forbids(&self, name: &str, value: &Value) -> Option<&str> {
        if let Some((any, _)) = self.0.get_key_value(ANY) {
            return Some(any);
        }
        let (known, values) = self.find(name)?;
        (values.is_empty() || any_part_in(value, values)).then_some(known)
    }

    /// Read as `allowed_parameters`: whether `name` may be `value`.
    pub(super) fn permits(&self, name: &str, value: &Value) -> Permitted<'_> {
        match self.find(name) {
            Some((_, values)) if values.is_empty() || every_part_in(value, values) => {
                Permitted::Yes
            }
            Some((known, _)) => Permitted::ValueMissing(known),
            None if self.is_empty() || self.0.contains_key(ANY) => Permitted::Yes,
            None => Permitted::NameMissing,
        }
    }

    /// `*` as a parameter's own name is not the rule for all names.
    fn find(&self, name: &str) -> Option<(&str, &[Value])> {
        let found = if name.chars().any(char::is_uppercase) {
            self.0.get_key_value(&name.to_lowercase())
        } else {
            self.0.get_key_value(name)
        };
        let (known, values) = found?;
        (known != ANY).then_some((known.as_str(), values.as_slice()))
    }
}

/// Whether a parameter is permitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Permitted<'a> {
    /// It is.
    Yes,
    /// Not with this value.
    ValueMissing(&'a str),
    /// The name is not listed.
    NameMissing,
}

/// Whether `value` is listed, or all of its parts are. Handlers take a list as an array or as one
/// string with commas, so both are looked into. A list without parts has none that is listed.
fn every_part_in(value: &Value, values: &[Value]) -> bool {
    is_in(value, values)
        || match value {
            Value::Array(parts) => !parts.is_empty() && parts.iter().all(|p| is_in(p, values)),
            Value::String(text) => {
                text.contains(',') && text.split(',').all(|part| text_is_in(part.trim(), values))
            }
            _ => false,
        }
}

/// Whether `value` is listed, or one of its parts is: nothing forbidden hides in a list.
fn any_part_in(value: &Value, values: &[Value]) -> bool {
    is_in(value, values)
        || match value {
            Value::Array(parts) => parts.iter().any(|part| any_text_in(part, values)),
            Value::String(_) => any_text_in(value, values),
            _ => false,
        }
}

fn any_text_in(value: &Value, values: &[Value]) -> bool {
    is_in(value, values)
        || match value {
            Value::String(text) => text.split(',').any(|part| text_is_in(part.trim(), values)),
            _ => false,
        }
}

fn is_in(value: &Value, values: &[Value]) -> bool {
    match value {
        Value::String(text) => text_is_in(text, values),
        _ => values.iter().any(|listed| same(listed, value)),
    }
}

fn text_is_in(text: &str, values: &[Value]) -> bool {
    values.iter().any(|listed| matches!(listed, Value::String(glob) if glob_matches(glob, text)))
}

/// A `*` in front and one at the end stand for anything; a lone `*` is only itself.
fn glob_matches(glob: &str, text: &str) -> bool {
    if glob.len() < 2 {
        return glob == text;
    }
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (Some(_), Some(_)) => text.contains(&glob[1..glob.len() - 1]),
        (None, None) => glob == text,
    }
}

/// Deep equality in which `1` and `1.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|other| same(a, other)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(list: &[(&str, &[Value])]) -> ParameterRules {
        let mut rules = ParameterRules::default();
        for (name, values) in list {
            rules.add(name, values);
        }
        rules
    }

    #[test]
    fn globs_stand_at_the_ends_only() {
        let cases = [
            ("good", "good", true),
            ("good", "goods", false),
            ("bad*", "bad glob", true),
            ("*good3", "glob good3", true),
            ("*mid*", "a mid b", true),
            ("a*b", "axb", false),
            ("a*b", "a*b", true),
            ("*", "anything", false),
            ("*", "*", true),
            ("**", "", true),
            ("", "", true),
        ];
        for (glob, text, expected) in cases {
            assert_eq!(glob_matches(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn values_are_compared_deeply() {
        assert!(same(&json!({"a": [1, {"b": null}]}), &json!({"a": [1.0, {"b": null}]})));
        assert!(!same(&json!({"a": [1]}), &json!({"a": [1, 2]})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
        assert!(!same(&json!(1), &json!("1")));
        assert!(!same(&json!(false), &json!(null)));
    }

    #[test]
    fn no_forbidden_value_hides_in_a_list() {
        let denied = rules(&[("policies", &[json!("root")])]);
        for value in [
            json!("root"),
            json!(["a", "root"]),
            json!("a, root"),
            json!(["a,root"]),
            json!(["root"]),
        ] {
            assert_eq!(denied.forbids("Policies", &value), Some("policies"), "{value}");
        }
        for value in [json!("roots"), json!([]), json!(""), json!(null), json!(["a"])] {
            assert_eq!(denied.forbids("policies", &value), None, "{value}");
        }
    }

    #[test]
    fn every_part_of_a_list_must_be_allowed() {
        let allowed = rules(&[("policies", &[json!("a"), json!("b*")])]);
        for value in [json!("a"), json!("a, bc"), json!(["a", "bc"]), json!("b,c")] {
            assert_eq!(allowed.permits("POLICIES", &value), Permitted::Yes, "{value}");
        }
        for value in [json!("a,c"), json!(["a", "c"]), json!([]), json!(""), json!(null)] {
            let verdict = allowed.permits("policies", &value);
            assert_eq!(verdict, Permitted::ValueMissing("policies"), "{value}");
        }
        assert_eq!(allowed.permits("other", &json!(1)), Permitted::NameMissing);
    }

    #[test]
    fn an_empty_list_takes_over_when_merged() {
        let mut one = rules(&[("a", &[json!(1)]), ("b", &[])]);
        one.merge(&rules(&[("A", &[]), ("b", &[json!(2)]), ("c", &[json!(3)])]));
        assert_eq!(one, rules(&[("a", &[]), ("b", &[]), ("c", &[json!(3)])]));
    }
}

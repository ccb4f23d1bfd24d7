//! Paths as people type them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Failure;
use crate::output;

/// Without blanks and slashes at either end.
pub(crate) fn clean(path: &str) -> Result<String, Failure> {
    let path = path.trim().trim_matches('/');
    if path.is_empty() {
        return Err(Failure::local("the path is empty; write for example secret/data/app".into()));
    }
    Ok(path.to_owned())
}

/// What stands behind the path of an operation without a body.
pub(crate) fn query(data: &serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::Array(items) => items.iter().map(output::plain).collect::<Vec<_>>().join(","),
        other => output::plain(other),
    };
    data.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slashes_at_the_ends_mean_nothing() {
        assert_eq!(clean(" /secret/a/ ").ok().as_deref(), Some("secret/a"));
        assert!(clean("/").is_err());
    }

    #[test]
    fn data_becomes_a_query() {
        let data = json!({"version": "2", "list": ["a", "b"]});
        let query = query(data.as_object().expect("an object"));
        assert_eq!(query["version"], "2");
        assert_eq!(query["list"], "a,b");
    }
}

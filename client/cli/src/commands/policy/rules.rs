//! What a policy may hold, as far as it can be told without a cluster: the words, not what they
//! grant.

use conclave_hcl::{Body, Element, Item, Position, Value, parse};

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) position: Position,
    pub(super) message: String,
}

/// All that is wrong with a policy's text, in the order of the text.
pub(super) fn check(text: &str) -> Vec<Finding> {
    let body = match parse(text) {
        Ok(body) => body,
        Err(error) => return vec![Finding { position: error.position, message: error.message }],
    };
    let mut findings = Vec::new();
    for item in &body.items {
        match item.keys_text().as_slice() {
            ["path", _] => check_rule(&item.value, item.position, &mut findings),
            ["path"] => check_rules_of_json(item, &mut findings),
            ["name"] => {}
            [other, ..] => findings.push(Finding {
                position: item.position,
                message: format!("{other:?} means nothing in a policy; write path \"…\" {{ … }}"),
            }),
            [] => {}
        }
    }
    if body.get("path").next().is_none() && findings.is_empty() {
        let message = "there is no rule, so it grants nothing; write path \"…\" { … }".into();
        findings.push(Finding { position: START, message });
    }
    findings
}

/// JSON has the paths as keys of one object, or of several in a list.
fn check_rules_of_json(item: &Item, findings: &mut Vec<Finding>) {
    let bodies: Vec<&Body> = match &item.value {
        Value::Object(body) => vec![body],
        Value::List(items) => items.iter().filter_map(|item| as_body(&item.value)).collect(),
        other => {
            let message = format!("'path' is {}; give it an object of paths", other.kind_name());
            return findings.push(Finding { position: item.position, message });
        }
    };
    for rule in bodies.iter().flat_map(|body| &body.items) {
        check_rule(&rule.value, rule.position, findings);
    }
}

fn check_rule(value: &Value, position: Position, findings: &mut Vec<Finding>) {
    let Some(body) = as_body(value) else {
        let message = format!("a path's rule is {}; write {{ … }}", value.kind_name());
        return findings.push(Finding { position, message });
    };
    for item in &body.items {
        let key = item.keys.first().map(|key| key.text.as_str()).unwrap_or_default();
        match key {
            "capabilities" => check_capabilities(item, findings),
            "policy" => check_old_word(item, findings),
            _ if KEYS.contains(&key) => {}
            _ => findings.push(Finding {
                position: item.position,
                message: format!("a path has no {key:?}; it may have {}", KEYS.join(", ")),
            }),
        }
    }
    if !body.items.iter().any(|item| ["capabilities", "policy"].contains(&&*item.keys[0].text)) {
        let message = "the rule names no capabilities, so it grants nothing; name some".into();
        findings.push(Finding { position, message });
    }
}

fn check_capabilities(item: &Item, findings: &mut Vec<Finding>) {
    let Value::List(list) = &item.value else {
        let kind = item.value.kind_name();
        let message = format!("'capabilities' is {kind}; write a list, [\"read\"]");
        return findings.push(Finding { position: item.position, message });
    };
    let unknown = |element: &&Element| match &element.value {
        Value::String(word) => !CAPABILITIES.contains(&word.as_str()),
        _ => true,
    };
    findings.extend(list.iter().filter(unknown).map(|element| Finding {
        position: element.position,
        message: format!("there is no such capability; choose of {}", CAPABILITIES.join(", ")),
    }));
}

fn check_old_word(item: &Item, findings: &mut Vec<Finding>) {
    let known = matches!(&item.value, Value::String(word) if OLD_WORDS.contains(&word.as_str()));
    if !known {
        let message = format!("'policy' is one of {}", OLD_WORDS.join(", "));
        findings.push(Finding { position: item.position, message });
    }
}

/// A block, or the one object in a list that JSON may have in its place.
fn as_body(value: &Value) -> Option<&Body> {
    match value {
        Value::Object(body) => Some(body),
        Value::List(items) => match items.as_slice() {
            [Element { value: Value::Object(body), .. }] => Some(body),
            _ => None,
        },
        _ => None,
    }
}

const START: Position = Position { line: 1, column: 1 };
const KEYS: [&str; 11] = [
    "capabilities",
    "policy",
    "comment",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "pagination_limit",
    "list_scan_response_keys_filter_path",
    "expiration",
];
const CAPABILITIES: [&str; 11] = [
    "create",
    "read",
    "update",
    "patch",
    "delete",
    "list",
    "scan",
    "sudo",
    "deny",
    "subscribe",
    "recover",
];
const OLD_WORDS: [&str; 4] = ["deny", "read", "write", "sudo"];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(u32, u32)> {
        check(text).iter().map(|one| (one.position.line, one.position.column)).collect()
    }

    #[test]
    fn good_policies_have_no_findings() {
        for text in [
            "path \"a\" {\n  capabilities = [\"read\", \"list\"]\n}\n",
            "name = \"p\"\npath \"a/*\" { policy = \"write\" }",
            "{\"path\": {\"a\": {\"capabilities\": [\"read\"]}}}",
            "{\"path\": [{\"a\": {\"capabilities\": [\"read\"]}}]}",
        ] {
            assert_eq!(check(text), [], "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_where_they_stand() {
        assert_eq!(found("path \"a\" {\n  capabilities = [\"read\", \"reed\"]\n}\n"), [(2, 27)]);
        assert_eq!(found("path \"a\" {\n  capabilities = \"read\"\n}\n"), [(2, 3)]);
        assert_eq!(found("path \"a\" {\n  capabilites = [\"read\"]\n}\n"), [(2, 3), (1, 1)]);
        assert_eq!(found("paths \"a\" {\n  capabilities = [\"read\"]\n}\n"), [(1, 1)]);
        assert_eq!(found("path \"a\" {\n  policy = \"all\"\n}\n"), [(2, 3)]);
        assert_eq!(found("path \"a\" = 1"), [(1, 10)]);
        assert_eq!(found(""), [(1, 1)]);
        assert_eq!(found("path \"a\" {\n  capabilities = [\n").len(), 1);
        assert_eq!(found("{\"path\": {\"a\": {\"capabilities\": [\"x\"]}}}").len(), 1);
    }
}

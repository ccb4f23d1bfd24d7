//! What the cluster answered to one operation on one path, in the shapes that scripts read.

use conclave_sdk::{Error, LogicalResponse};
use serde_json::{Map, Value, json};

use crate::commands::Failure;
use crate::duration;
use crate::output::{self, Format, Output};

/// An answer.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub(crate) request_id: String,
    pub(crate) lease_duration_s: u64,
    /// `null` where the operation has nothing to say.
    pub(crate) data: Value,
    /// A token that was made or renewed.
    pub(crate) auth: Option<Map<String, Value>>,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// The SDK's answer, parsed.
    pub(crate) fn new(response: LogicalResponse) -> Result<Self, Error> {
        let data = response.value()?;
        let auth = response.auth.as_deref().map(serde_json::from_slice).transpose();
        let auth = auth.map_err(|error| Error::Answer {
            message: format!("its token is no JSON object, column {}", error.column()),
        })?;
        Ok(Self {
            request_id: response.request_id,
            lease_duration_s: response.lease_duration_s,
            data,
            auth,
            warnings: response.warnings,
        })
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_null() && self.auth.is_none() && self.warnings.is_empty()
    }

    /// The data, if it is an object.
    pub(crate) fn object(&self) -> Option<&Map<String, Value>> {
        self.data.as_object()
    }

    /// The names that a list has, unless there are none.
    pub(crate) fn keys(&self) -> Option<&Vec<Value>> {
        self.data.get("keys")?.as_array().filter(|keys| !keys.is_empty())
    }

    /// All of it, as the API has it.
    pub(crate) fn envelope(&self) -> Value {
        let mut envelope = json!({
            "request_id": self.request_id,
            "lease_id": "",
            "lease_duration": self.lease_duration_s,
            "renewable": false,
            "data": self.data,
            "warnings": (!self.warnings.is_empty()).then_some(&self.warnings),
        });
        if let Some(auth) = &self.auth {
            envelope["auth"] = Value::Object(auth.clone());
        }
        envelope
    }

    /// The whole answer, or one field of it.
    pub(crate) fn show(&self, format: Format, field: Option<&str>) -> Result<Output, Failure> {
        if let Some(field) = field {
            return one_field(format, self.field(field), field);
        }
        if !format.is_table() {
            return Ok(Output::document(format, &self.envelope()));
        }
        let rows = self.rows();
        let text = if rows.is_empty() { String::new() } else { output::pairs(rows) };
        Ok(Output::good(text).with_notes(&self.warning_text()))
    }

    /// What is told to people beside the answer.
    pub(crate) fn warning_text(&self) -> String {
        if self.warnings.is_empty() {
            return String::new();
        }
        let mut text = "WARNING! The cluster answered with a warning:\n\n".to_owned();
        for warning in &self.warnings {
            text += &format!("  * {warning}\n");
        }
        text + "\n"
    }

    fn field(&self, field: &str) -> Option<Value> {
        let of_auth = |name: &str| self.auth.as_ref().map(|auth| auth.get(name).cloned());
        let found = match field {
            "token" => of_auth("client_token"),
            "token_accessor" => of_auth("accessor"),
            "token_duration" => of_auth("lease_duration"),
            "token_renewable" => of_auth("renewable"),
            "token_policies" | "identity_policies" | "policies" => of_auth(field),
            _ => None,
        };
        let plain = || match field {
            "data" => Some(self.data.get("data").unwrap_or(&self.data).clone()),
            "lease_duration" | "refresh_interval" => Some(self.lease_duration_s.into()),
            "lease_id" => Some("".into()),
            "request_id" => Some(self.request_id.as_str().into()),
            _ => self.data.get(field).cloned(),
        };
        found.unwrap_or_else(plain).filter(|value| !value.is_null())
    }

    fn rows(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        if self.lease_duration_s > 0 {
            // The data has no lease that one could renew: this is how long it may be kept.
            let interval = duration::in_words(self.lease_duration_s);
            rows.push(("refresh_interval".to_owned(), interval));
        }
        rows.extend(self.auth.iter().flat_map(auth_rows));
        if let Some(object) = self.object() {
            let cells = object.iter().map(|(key, value)| (key.clone(), output::cell(key, value)));
            rows.extend(cells);
        }
        rows
    }
}

/// What `-field` asked for.
pub(crate) fn one_field(
    format: Format,
    value: Option<Value>,
    field: &str,
) -> Result<Output, Failure> {
    let value = value.ok_or_else(|| {
        Failure::local(format!("Field {field:?} not present in secret; look without -field"))
    })?;
    Ok(output::single(format, &value))
}

fn auth_rows(auth: &Map<String, Value>) -> Vec<(String, String)> {
    let of = |name: &str| auth.get(name).cloned().unwrap_or_default();
    let seconds = of("lease_duration").as_u64().unwrap_or(0);
    // A token that never ends.
    let duration = if seconds == 0 { "∞".to_owned() } else { duration::in_words(seconds) };
    let mut rows: Vec<(String, String)> = [
        ("token", output::plain(&of("client_token"))),
        ("token_accessor", output::plain(&of("accessor"))),
        ("token_duration", duration),
        ("token_renewable", (of("renewable") == true).to_string()),
        ("token_policies", quoted(&of("token_policies"))),
        ("identity_policies", quoted(&of("identity_policies"))),
        ("policies", quoted(&of("policies"))),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if let Some(metadata) = auth.get("metadata").and_then(Value::as_object) {
        let pairs = metadata.iter();
        rows.extend(pairs.map(|(key, value)| (format!("token_meta_{key}"), output::plain(value))));
    }
    rows
}

/// `["a" "b"]`, as Go prints a list of texts with quotes.
fn quoted(list: &Value) -> String {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<String> = items.iter().map(Value::to_string).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn login() -> Answer {
        let auth = json!({
            "client_token": "hvs.000000000000000000000000", "accessor": "a-1",
            "policies": ["default", "dev"], "token_policies": ["default", "dev"],
            "identity_policies": null, "metadata": {"username": "bob"}, "lease_duration": 2_764_800,
            "renewable": true, "entity_id": "", "token_type": "service", "orphan": true,
            "num_uses": 0,
        });
        let auth = auth.as_object().cloned();
        Answer { request_id: "id-1".into(), auth, ..Answer::default() }
    }

    fn data() -> Answer {
        let data = json!({"zip": "1", "ttl": 3600, "keys": ["a", "b"], "none": null});
        let warnings = vec!["old".to_owned()];
        Answer { request_id: "id-1".into(), lease_duration_s: 90, data, warnings, auth: None }
    }

    fn shown(answer: &Answer, format: Format, field: Option<&str>) -> String {
        let output = answer.show(format, field).expect("it can be shown");
        output.notes + &output.text
    }

    #[test]
    fn answers_are_as_agreed() {
        for (name, answer) in [("login", login()), ("data", data())] {
            for (format, end) in
                [(Format::Table, "txt"), (Format::Json, "json"), (Format::Yaml, "yaml")]
            {
                golden::check(
                    &format!("output/answer-{name}.{end}"),
                    &shown(&answer, format, None),
                );
            }
        }
    }

    #[test]
    fn fields_are_found_where_scripts_look() {
        let field = |answer: &Answer, name| shown(answer, Format::Raw, Some(name));
        assert_eq!(field(&login(), "token").trim(), "hvs.000000000000000000000000");
        assert_eq!(field(&login(), "policies").trim(), "[default dev]");
        assert_eq!(field(&login(), "token_duration").trim(), "2764800");
        assert_eq!(field(&data(), "zip").trim(), "1");
        assert_eq!(field(&data(), "data").trim(), "map[keys:[a b] none:<nil> ttl:3600 zip:1]");
        assert_eq!(field(&data(), "refresh_interval").trim(), "90");
        for absent in ["none", "nothing"] {
            let failure = data().show(Format::Table, Some(absent)).expect_err("not there");
            assert_eq!(failure.exit_code(), crate::EXIT_LOCAL);
        }
    }

    #[test]
    fn a_token_without_an_end_is_infinite() {
        let mut root = login();
        let auth = root.auth.as_mut().expect("a token");
        auth.insert("lease_duration".into(), json!(0));
        let text = shown(&root, Format::Table, None);
        let line = text.lines().find(|line| line.starts_with("token_duration"));
        assert!(line.is_some_and(|line| line.ends_with(" ∞")), "{text}");
    }
}

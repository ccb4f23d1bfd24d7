//! `conclave policy explain`.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Context, Failure};
use crate::answer::Answer;
use crate::output::{self, Output};

/// Tell whether a token or policies allow an operation, and which rule decides.
#[derive(Args)]
pub(crate) struct Explain {
    /// Ask about these policies together; repeat the flag, or write commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "of_token")]
    policy: Vec<String>,
    /// Ask about this token; without it and -policy, about the one that asks
    #[arg(long, value_name = "TOKEN")]
    of_token: Option<String>,
    /// The operation
    #[arg(long, value_enum, default_value = "read", value_name = "OPERATION")]
    operation: Operation,
    /// The path, as the API has it
    #[arg(value_name = "PATH")]
    path: String,
}

/// What one can do with a path.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Operation {
    Create,
    Read,
    Update,
    Patch,
    Delete,
    List,
    Scan,
}

impl std::fmt::Debug for Explain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explain").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Explain {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let own = context.token()?;
        let body = self.body(own.as_deref());
        let api = context.api().await?;
        let answer = api.write("explaining policy", "sys/policies/explain", &body).await?;
        if !format.is_table() {
            return Ok(Output::document(format, &answer.data));
        }
        Ok(Output::good(render(&answer)).with_notes(&answer.warning_text()))
    }

    fn body(&self, own: Option<&str>) -> Value {
        let operation = self.operation.to_possible_value().map(|value| value.get_name().to_owned());
        let mut body = json!({
            "path": self.path.trim_start_matches('/'), "operation": operation,
        });
        if self.policy.is_empty() {
            body["token"] = self.of_token.as_deref().or(own).into();
        } else {
            body["policies"] = json!(self.policy);
        }
        body
    }
}

/// The decision, the rule that decided, and the rules that are about the path, too.
fn render(answer: &Answer) -> String {
    let data = &answer.data;
    let verdict = if data.get("allowed").is_some_and(|allowed| *allowed == true) {
        "Allowed"
    } else {
        "Denied"
    };
    let mut text = format!("{verdict}: {} {}", word(data, "capability"), word(data, "path"));
    if let Some(because) = data.get("denied_because").and_then(Value::as_str) {
        text += &format!(", {because}");
    }
    text += "\n";
    let decided = data.get("decided_by").filter(|rule| !rule.is_null()).map(rule_line);
    text += &match decided {
        Some(rule) => format!("\nDecided by:\n  {rule}\n"),
        None => "\nNo rule decided.\n".to_owned(),
    };
    text += &section("Lost:", data, "lost", |rule| {
        format!("{}: {}", rule_line(rule), loss(&word(rule, "reason")))
    });
    text += &section("Without a path for this token:", data, "unrendered", |rule| {
        let source = rule.get("source").map(source_words).unwrap_or_default();
        format!("path {:?}{source}: {}", word(rule, "path"), word(rule, "reason"))
    });
    text
}

/// A title and a line for each rule; nothing where there is none.
fn section(title: &str, data: &Value, name: &str, line: impl Fn(&Value) -> String) -> String {
    let rules = data.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() {
        return String::new();
    }
    let lines: String = rules.iter().map(|rule| format!("  {}\n", line(rule))).collect();
    format!("\n{title}\n{lines}")
}

/// `path "secret/*" [read] (policy "dev" at 1:1)`.
fn rule_line(rule: &Value) -> String {
    let capabilities = rule.get("capabilities").and_then(Value::as_array).cloned();
    let names: Vec<String> = capabilities.iter().flatten().map(output::plain).collect();
    let sources = rule.get("sources").and_then(Value::as_array).cloned().unwrap_or_default();
    let sources: String = sources.iter().map(source_words).collect();
    format!("path {:?} [{}]{sources}", word(rule, "path"), names.join(", "))
}

fn source_words(source: &Value) -> String {
    let of = |name: &str| word(source, name);
    format!(" (policy {:?} at {}:{})", of("policy"), of("line"), of("column"))
}

/// Why a rule lost; a reason that is new to this program stands for itself.
fn loss(reason: &str) -> String {
    let words = match reason {
        "not_exact" => "the deciding rule names exactly this path",
        "earlier_wildcard" => "its first wildcard stands further left",
        "glob" => "it ends in '*' and the deciding rule does not",
        "more_segments" => "it has more '+' segments",
        "shorter" => "it is shorter",
        "sorts_earlier" => "it sorts before the deciding rule",
        "other_spelling" => "it is about the other spelling of the path, with or without the slash",
        "withheld" => "a templated rule without a path for this token refuses this path",
        other => other,
    };
    words.to_owned()
}

fn word(value: &Value, name: &str) -> String {
    value.get(name).map(output::plain).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(policy: &[&str]) -> Explain {
        let policy = policy.iter().map(|name| (*name).to_owned()).collect();
        let operation = Operation::Update;
        Explain { policy, of_token: None, operation, path: "/secret/data/a".into() }
    }

    #[test]
    fn the_question_is_about_policies_or_a_token() {
        let expected = json!({
            "path": "secret/data/a", "operation": "update", "policies": ["a", "b"],
        });
        assert_eq!(explain(&["a", "b"]).body(Some("own")), expected);
        let expected = json!({"path": "secret/data/a", "operation": "update", "token": "own"});
        assert_eq!(explain(&[]).body(Some("own")), expected);
    }

    #[test]
    fn decisions_are_told_as_agreed() {
        let answer = |data| Answer { data, ..Answer::default() };
        let rule = |path: &str, line: u32| {
            json!({
                "path": path, "capabilities": ["read", "list"],
                "sources": [{"policy": "dev", "line": line, "column": 1, "capabilities": ["read"]}],
            })
        };
        let mut lost = rule("secret/*", 4);
        lost["reason"] = "shorter".into();
        let denied = answer(json!({
            "path": "secret/data/a", "capability": "update", "allowed": false, "sudo": false,
            "denied_because": "no rule gives 'update'; add it",
            "decided_by": rule("secret/data/*", 1), "lost": [lost],
            "unrendered": [{
                "path": "secret/{{identity.entity.name}}/*", "refuses": false,
                "reason": "the token has no entity",
                "source": {"policy": "own", "line": 2, "column": 1, "capabilities": ["read"]},
            }],
        }));
        crate::golden::check("output/explain-denied.txt", &render(&denied));
        let nothing = answer(json!({
            "path": "a", "capability": "read", "allowed": false, "denied_because": "no rule",
            "decided_by": null, "lost": [], "unrendered": [],
        }));
        crate::golden::check("output/explain-nothing.txt", &render(&nothing));
        let allowed = json!({"path": "a", "capability": "read", "allowed": true});
        assert!(render(&answer(allowed)).starts_with("Allowed: read a\n"));
        assert_eq!(loss("something_new"), "something_new");
    }
}

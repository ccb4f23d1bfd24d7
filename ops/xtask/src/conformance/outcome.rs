//! How one test of a suite ended, as the suite's plug-in noted it.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) passed: bool,
    /// Why it did not pass, in the suite's words; one line.
    pub(super) reason: String,
}

/// Reads a file with one JSON object a line: `name`, `outcome`, `message`.
///
/// # Errors
/// There is no such file, or a line is something else.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<Outcome>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    text.lines().map(|line| parse(line).with_context(|| format!("the line {line}"))).collect()
}

fn parse(line: &str) -> anyhow::Result<Outcome> {
    let value: Value = serde_json::from_str(line)?;
    let field = |key: &str| value[key].as_str().map(str::to_owned).context(key.to_owned());
    let reason = field("message")?.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Outcome { name: field("name")?, passed: field("outcome")? == "passed", reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = r#"{"name": "a::b", "outcome": "failed", "message": "one\n  two"}"#;
        let outcome = parse(line).expect("a line");
        assert_eq!(
            outcome,
            Outcome { name: "a::b".into(), passed: false, reason: "one two".into() }
        );
        assert!(parse(r#"{"name": "a::b"}"#).is_err(), "a line without an outcome");
    }
}

//! `conclave policy lint`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::rules::{Finding, check};
use super::{Context, Failure, read_text};
use crate::output::{Format, Output};

/// Check a policy's file without any cluster.
#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Lint {
    pub(crate) fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let findings = check(&read_text(&self.file)?);
        Ok(render(&self.file.display().to_string(), &findings, format))
    }
}

/// As compilers tell it, so that editors find the place. Findings make the exit code 1.
fn render(file: &str, findings: &[Finding], format: Format) -> Output {
    let code = if findings.is_empty() { crate::EXIT_GOOD } else { crate::EXIT_LOCAL };
    if !format.is_table() {
        let list: Vec<Value> = findings
            .iter()
            .map(|Finding { position, message }| {
                json!({ "line": position.line, "column": position.column, "message": message })
            })
            .collect();
        return Output::document(format, &Value::Array(list)).with_code(code);
    }
    if findings.is_empty() {
        return Output::good(format!("Success! No findings in policy: {file}\n"));
    }
    let line = |Finding { position, message }: &Finding| format!("{file}:{position}: {message}\n");
    Output::good(findings.iter().map(line).collect()).with_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_as_agreed() {
        let findings = check("path \"a\" {\n  capabilities = [\"reed\"]\n  cap = 1\n}\n");
        let table = render("p.hcl", &findings, Format::Table);
        assert_eq!(table.code, crate::EXIT_LOCAL);
        crate::golden::check("output/policy-lint.txt", &table.text);
        crate::golden::check(
            "output/policy-lint.json",
            &render("p.hcl", &findings, Format::Json).text,
        );
        assert_eq!(render("p.hcl", &[], Format::Table).code, crate::EXIT_GOOD);
    }
}

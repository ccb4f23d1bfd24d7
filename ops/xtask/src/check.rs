//! The quick half.

use crate::step;
use crate::tidy;

/// Runs it.
///
/// # Errors
/// The first step that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    step::run("format", step::cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    step::run(
        "lints",
        step::cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step::run("unit tests", step::cargo(&["test", "--workspace", "--locked"]))
}

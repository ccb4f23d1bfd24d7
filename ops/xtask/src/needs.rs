//! What a foreign suite or client needs on this machine. In CI it is installed; on a person's machine
//! the command that installs it is shown, and nothing is changed.

use std::process::Command;

use crate::step;

/// Something that may be missing.
pub(crate) struct Need {
    pub(crate) what: &'static str,
    pub(crate) is_there: bool,
    /// Command lines, run in the workspace's root; words hold no blanks.
    pub(crate) install: Vec<String>,
}

/// These are missing on a person's machine; the lines that install them have been shown. In CI this
/// never happens: what cannot be installed there is another error.
#[derive(Debug)]
pub(crate) struct Missing(String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} missing: run the lines above", self.0)
    }
}

impl std::error::Error for Missing {}

/// Sees to it that all of them are there.
///
/// # Errors
/// Installing fails, or this is a person's machine and something is [`Missing`].
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<_> = needs.iter().filter(|need| !need.is_there).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        return missing.iter().try_for_each(|need| install(need));
    }
    let lines: Vec<_> = missing.iter().flat_map(|need| &need.install).cloned().collect();
    println!("\nThis installs what is missing:\n\n{}\n", lines.join(" && \\\n"));
    let names: Vec<_> = missing.iter().map(|need| need.what).collect();
    Err(Missing(names.join(" and ")).into())
}

fn install(need: &Need) -> anyhow::Result<()> {
    for line in &need.install {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        command.current_dir(step::root()).args(words);
        step::run(&format!("installing {}", need.what), command)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_part_is_skipped_for_what_is_missing_and_for_nothing_else() {
        let missing = || anyhow::Result::Err(Missing("npm".into()).into());
        step::part("a part", missing).expect("it is skipped");
        step::part("a part", || missing().context("further in")).expect("it is skipped");
        step::part("a part", || anyhow::bail!("a check failed")).expect_err("it failed");
        step::part("a part", || Ok(())).expect("it went well");
    }

    #[test]
    fn what_is_there_needs_no_installing() {
        let install = vec!["no-such-program of any kind".to_owned()];
        ensure(&[Need { what: "it", is_there: true, install: install.clone() }]).expect("there");
        let error = ensure(&[Need { what: "it", is_there: false, install }]).expect_err("missing");
        // In CI it is an error to have been unable to install; elsewhere it is missing.
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert_eq!(error.is::<Missing>(), !ci, "{error}");
    }
}

//! What a suite needs on this machine. In CI it is installed; on a person's machine the command that
//! installs it is shown, and nothing is changed.

use std::process::Command;

use anyhow::bail;

use crate::step;

/// Something that may be missing.
pub(super) struct Need {
    pub(super) what: &'static str,
    pub(super) is_there: bool,
    /// Command lines, run in the workspace's root; words hold no blanks.
    pub(super) install: Vec<String>,
}

/// Sees to it that all of them are there.
///
/// # Errors
/// Installing fails, or this is a person's machine and something is missing.
pub(super) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<_> = needs.iter().filter(|need| !need.is_there).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        return missing.iter().try_for_each(|need| install(need));
    }
    let lines: Vec<_> = missing.iter().flat_map(|need| &need.install).cloned().collect();
    println!(
        "\nThis installs what is missing, all of it below target/:\n\n{}",
        lines.join(" && \\\n")
    );
    let names: Vec<_> = missing.iter().map(|need| need.what).collect();
    bail!("{} missing: run the lines above", names.join(" and "))
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

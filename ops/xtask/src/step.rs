//! One named step of a task: a command that must succeed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("xtask lies two folders below the root").to_path_buf()
}

/// A cargo command in the workspace, with the cargo that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// A program that [`build_programs`] has built; it lies beside this one.
///
/// # Errors
/// It is not there.
pub(crate) fn built(name: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    let here = std::env::current_exe().context("the path of xtask")?;
    let program = here.with_file_name(name);
    anyhow::ensure!(program.exists(), "{} is not built", program.display());
    let mut command = Command::new(program);
    command.current_dir(root()).args(arguments);
    Ok(command)
}

/// Builds every program as the tests were built: with other targets cargo would choose other
/// features and compile everything again.
///
/// # Errors
/// It does not compile.
pub(crate) fn build_programs() -> anyhow::Result<()> {
    run("programs", cargo(&["build", "--workspace", "--all-targets", "--locked"]))
}

/// A program of this workspace, built by itself and run.
pub(crate) fn program(package: &str, arguments: &[&str]) -> Command {
    let mut all = vec!["run", "--quiet", "--package", package, "--"];
    all.extend_from_slice(arguments);
    cargo(&all)
}

/// Runs `command` and says how long it took.
///
/// # Errors
/// It cannot be started, or does not succeed.
pub(crate) fn run(name: &str, mut command: Command) -> anyhow::Result<()> {
    println!("\n== {name}");
    let start = now();
    let status = command.status().with_context(|| format!("{name} cannot be started"))?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{name} failed ({status}) after {seconds:.0} s");
    }
    println!("== {name}: ok, {seconds:.0} s");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a build tool times its own steps")]
fn now() -> Instant {
    Instant::now()
}

//! One named step of a task: a command that must succeed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::needs::Missing;

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

/// The folder with the programs: the one that was given, or the one they are now built into.
///
/// # Errors
/// They do not compile, or there is no such folder.
pub(crate) fn programs(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(folder) => folder.canonicalize().with_context(|| folder.display().to_string()),
        None => {
            build_programs()?;
            built_folder()
        }
    }
}

/// Where [`build_programs`] leaves what it builds.
///
/// # Errors
/// The path of this program cannot be told.
pub(crate) fn built_folder() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("the path of xtask")?;
    Ok(here.parent().context("xtask lies in a folder")?.to_owned())
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

/// Runs a part of a task that others' software may be needed for, and says how long it took. Where
/// that is [`Missing`] on a person's machine the part is skipped, by name.
///
/// # Errors
/// The part's own.
pub(crate) fn part(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("\n== {name}");
    let start = now();
    match run() {
        Err(error) if error.is::<Missing>() => println!("== {name}: SKIPPED, {error}"),
        outcome => {
            outcome.with_context(|| name.to_owned())?;
            println!("== {name}: ok, {:.0} s", start.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// Runs `command`, which is killed if it takes longer than `most`.
///
/// # Errors
/// It cannot be started, or does not end in time.
pub(crate) fn status_within(most: Duration, mut command: Command) -> anyhow::Result<ExitStatus> {
    let mut child = command.spawn().with_context(|| format!("{command:?} cannot be started"))?;
    let ended = until(most, || !matches!(child.try_wait(), Ok(None)));
    if ended.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    ended.map(|()| status)
}

/// Waits until something is so.
///
/// # Errors
/// It is not within `most`.
pub(crate) fn until(most: Duration, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = now() + most;
    while !is_so() {
        anyhow::ensure!(now() < deadline, "nothing happened within {} s", most.as_secs());
        std::thread::sleep(POLL);
    }
    Ok(())
}

const POLL: Duration = Duration::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "a build tool times its own steps")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let most = Duration::from_millis(100);
        let mut forever = Command::new("sleep");
        forever.arg("600");
        let begun = now();
        status_within(most, forever).expect_err("it does not end by itself");
        assert!(begun.elapsed() < Duration::from_secs(60));
        let ended = status_within(Duration::from_secs(60), Command::new("true"));
        assert!(ended.expect("a status").success());
    }
}

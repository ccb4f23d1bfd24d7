//! hvac, the Python client: the integration tests of its source distribution.
//!
//! The suite starts a program called `vault` for each test class and kills it afterwards. Ours lies
//! in `ops/conformance/hvac`, stands first on the path, and holds a cluster of the pool meanwhile.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use super::outcome::{self, Outcome};
use super::{Pool, Run};
use crate::needs::{self, Need};
use crate::step;

/// As `ops/conformance/hvac/sdist.txt` pins it.
const SUITE: &str = "hvac-2.4.0";
/// Where [`prepare`] puts the suite and its packages, from the workspace's root.
const FOLDER: &str = "target/conformance/hvac";
const CHECKED_IN: &str = "ops/conformance/hvac";

/// Gets the suite, what it runs on, and certificates of today: its own have expired.
///
/// # Errors
/// Something is missing that cannot or must not be installed.
pub(super) fn prepare(run: &Run) -> anyhow::Result<()> {
    needs::ensure(&[packages(run)?, suite(run)])?;
    let mut certificates = Command::new("bash");
    certificates.arg("tests/scripts/generate_test_cert.sh").current_dir(suite_folder(run));
    let made = certificates.output().context("bash cannot be started; install it")?;
    anyhow::ensure!(
        made.status.success(),
        "no test certificates (is openssl installed?): {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

/// Runs its tests, each class against a cluster of its own.
///
/// # Errors
/// The suite cannot be run; tests that fail are no error here.
pub(super) fn run(run: &Run, pool: &Pool) -> anyhow::Result<Vec<Outcome>> {
    let outcomes = run.folder.join("outcomes.jsonl");
    let _ = std::fs::remove_file(&outcomes);
    let mut command = pytest(run, pool)?;
    command.env("CONFORMANCE_OUTCOMES", &outcomes);
    let status = step::status_within(RUN_MAX, command).context("the suite")?;
    match status.code() {
        // All passed; some failed.
        Some(0 | 1) => outcome::read(&outcomes),
        Some(NO_TESTS) => bail!("no test of {SUITE} has such a name"),
        _ => bail!("the suite could not be run: {status}"),
    }
}

fn pytest(run: &Run, pool: &Pool) -> anyhow::Result<Command> {
    let ours = step::root().join(CHECKED_IN);
    let before = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(ours.clone()).chain(std::env::split_paths(&before));
    // Whoever looks at few tests wants to see where they break.
    let words = if run.patterns.is_empty() { "--tb=no" } else { "--tb=short" };
    let mut command = Command::new(python(run));
    command
        .current_dir(suite_folder(run))
        .args(["-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "outcomes"])
        .args(["-q", "--no-summary", words, "tests/integration_tests"])
        .env("PATH", std::env::join_paths(path)?)
        .env("PYTHONPATH", ours)
        .env("CONFORMANCE_POOL", &pool.socket)
        .env("CONFORMANCE_CONCLAVE", run.programs.join("conclave"))
        .env("CONFORMANCE_PATTERNS", run.patterns.join("\n"));
    Ok(command)
}

fn packages(run: &Run) -> anyhow::Result<Need> {
    let file = run.checked_in("requirements.txt");
    let wanted = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(Need {
        what: "hvac's Python packages",
        is_there: pins(&wanted).is_subset(&pins(&installed(run))),
        install: vec![
            format!("python3 -m venv {FOLDER}/venv"),
            format!("{FOLDER}/venv/bin/pip install --quiet -r {CHECKED_IN}/requirements.txt"),
        ],
    })
}

fn suite(run: &Run) -> Need {
    Need {
        what: "hvac's tests",
        is_there: suite_folder(run).join("tests/scripts").exists(),
        install: vec![
            format!(
                "{FOLDER}/venv/bin/pip download --quiet --no-deps --no-binary hvac \
                 -d {FOLDER} -r {CHECKED_IN}/sdist.txt"
            ),
            format!("{FOLDER}/venv/bin/python -m tarfile -e {FOLDER}/{SUITE}.tar.gz {FOLDER}"),
        ],
    }
}

/// What `pip` lists, or nothing where there is no `pip` yet.
fn installed(run: &Run) -> String {
    let listed = Command::new(python(run)).args(["-m", "pip", "freeze"]).output();
    listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// The lines `name==version`, in the one spelling that stands for all.
fn pins(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter(|line| line.contains("==")).map(|l| l.to_lowercase().replace('_', "-")).collect()
}

fn python(run: &Run) -> PathBuf {
    run.folder.join("venv/bin/python")
}

fn suite_folder(run: &Run) -> PathBuf {
    run.folder.join(SUITE)
}

/// It takes two minutes beside a busy machine; the plug-in bounds each test and names it.
const RUN_MAX: Duration = Duration::from_secs(900);
/// pytest's exit code for it.
const NO_TESTS: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_package_are_one() {
        let wanted = pins("# a reason\nFlask-SQLAlchemy==3.1.1\n");
        assert!(wanted.is_subset(&pins("other==1\nflask_sqlalchemy==3.1.1\n")));
        assert!(!wanted.is_subset(&pins("flask_sqlalchemy==3.1.2\n")));
        assert!(!wanted.is_subset(&pins("")));
    }

    #[test]
    fn the_pinned_suite_is_the_one_that_is_unpacked() {
        let file = step::root().join(CHECKED_IN).join("sdist.txt");
        let pinned = std::fs::read_to_string(file).expect("sdist.txt");
        let (name, version) = SUITE.split_once('-').expect("a name and a version");
        assert!(pinned.starts_with(&format!("{name}=={version} --hash=sha256:")), "{pinned}");
    }
}

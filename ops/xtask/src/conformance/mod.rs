//! `cargo xtask conformance SUITE [-- PATTERN…]`: tests that others wrote for the server they know,
//! unmodified, against fresh three-node clusters.
//!
//! A suite speaks to one address, as it would to one server. Behind it stands a front that sends
//! each request to a random node, so that whatever the suite asserts holds on every node. A run in
//! which too few requests reached followers proves nothing and is void. What passed is compared by
//! name with what passes on the reference server. `ops/conformance/README.md` says how a suite is
//! added.

mod hvac;
mod outcome;
mod pool;
mod verdict;

use std::path::PathBuf;

use anyhow::Context;

use crate::step;
use outcome::Outcome;
use pool::Pool;
use verdict::Verdict;

/// `cargo xtask conformance`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Whose tests.
    suite: Suite,
    /// Takes `conclaved` and `conclave` from there and builds nothing.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Only tests whose name contains one of these.
    #[arg(last = true)]
    patterns: Vec<String>,
}

/// A suite that can be run.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Suite {
    /// The integration tests of hvac, the Python client.
    Hvac,
}

/// Where a run finds its programs, and where it leaves what it makes.
struct Run {
    name: &'static str,
    /// Made by this command and kept: the suite, what it needs, its logs.
    folder: PathBuf,
    programs: PathBuf,
    patterns: Vec<String>,
}

/// Runs the suite and compares.
///
/// # Errors
/// Something is missing on this machine, the run is void, or a test does not pass that should.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let run = Run::new(arguments)?;
    match arguments.suite {
        Suite::Hvac => hvac::prepare(&run)?,
    }
    let pool = Pool::start(&run)?;
    let outcomes = match arguments.suite {
        Suite::Hvac => hvac::run(&run, &pool)?,
    };
    let tally = pool.end()?;
    println!("{tally}");
    tally.ensure_followers(run.patterns.is_empty())?;
    run.judge(outcomes)
}

/// Runs a whole suite with programs that are built already.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_whole(suite: Suite, programs: PathBuf) -> anyhow::Result<()> {
    run(&Arguments { suite, programs: Some(programs), patterns: Vec::new() })
}

impl Run {
    fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let name = match arguments.suite {
            Suite::Hvac => "hvac",
        };
        let folder = step::root().join("target/conformance").join(name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let programs = step::programs(arguments.programs.as_deref())?;
        Ok(Self { name, folder, programs, patterns: arguments.patterns.clone() })
    }

    /// A file of the checked-in half of this suite.
    fn checked_in(&self, file: &str) -> PathBuf {
        step::root().join("ops/conformance").join(self.name).join(file)
    }

    /// A checked-in list of names.
    fn list(&self, what: &str) -> anyhow::Result<String> {
        let file = step::root().join(format!("ops/conformance/{}-{what}.txt", self.name));
        std::fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    fn judge(&self, outcomes: Vec<Outcome>) -> anyhow::Result<()> {
        let lists = (self.list("reference")?, self.list("later")?);
        let verdict = Verdict::new(outcomes, &lists.0, &lists.1, &self.patterns);
        let file = self.folder.with_extension("txt");
        std::fs::write(&file, verdict.passed_lines())
            .with_context(|| file.display().to_string())?;
        print!("{verdict}");
        anyhow::ensure!(verdict.is_good(), "{} does not pass whole", self.name);
        Ok(())
    }
}

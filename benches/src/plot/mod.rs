//! Curves as SVG, from the CSV files that measurements leave.

mod canvas;
mod failover;
mod memory;

use std::path::PathBuf;

/// `conclave-benches plot`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The samples of `big-state`.
    #[arg(long, value_name = "FILE", default_value = "target/bench/big-state.csv")]
    big_state: PathBuf,
    /// The failover times that the fault tests measured.
    #[arg(long, value_name = "FILE", default_value = "target/jepsen/failover.csv")]
    failover: PathBuf,
    /// Where the plots go.
    #[arg(long, value_name = "DIR", default_value = "benches/plots")]
    into: PathBuf,
}

/// Draws what there is.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    std::fs::create_dir_all(&arguments.into)?;
    let mut drawn = 0;
    if arguments.big_state.exists() {
        memory::draw(&arguments.big_state, &arguments.into.join("big-state.svg"))?;
        drawn += 1;
    }
    if arguments.failover.exists() {
        failover::draw(&arguments.failover, &arguments.into.join("failover.svg"))?;
        drawn += 1;
    }
    anyhow::ensure!(
        drawn > 0,
        "neither {} nor {} is there: run `conclave-benches big-state` or the fault tests first",
        arguments.big_state.display(),
        arguments.failover.display()
    );
    println!("{drawn} drawn in {}", arguments.into.display());
    Ok(())
}

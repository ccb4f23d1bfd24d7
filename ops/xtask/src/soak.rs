//! `cargo xtask soak`: simulation seeds and fault runs without end, resumable.

use anyhow::Context;

use crate::step;

/// `cargo xtask soak`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many rounds; each is 500 seeds and one run of every fault workload.
    #[arg(long, default_value_t = u64::MAX)]
    rounds: u64,
}

/// Runs it; the next seed stands in `target/soak-seed`, so that a stopped soak goes on.
///
/// # Errors
/// The first failure.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let file = step::root().join("target/soak-seed");
    let mut from: u64 = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().context("target/soak-seed holds no number; delete it")?,
        Err(_) => 0,
    };
    step::build_programs()?;
    for _ in 0..arguments.rounds {
        let (seeds, start) = (SEEDS.to_string(), from.to_string());
        step::run(
            "simulation",
            step::built("conclave-sim", &["--seeds", &seeds, "--from", &start])?,
        )?;
        step::run("real processes", step::built("conclave-jepsen", &["all"])?)?;
        from += SEEDS;
        std::fs::write(&file, from.to_string()).context("target/soak-seed")?;
    }
    Ok(())
}

const SEEDS: u64 = 500;

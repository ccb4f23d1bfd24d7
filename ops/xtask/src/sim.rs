//! `cargo xtask sim`: hands its arguments to the simulator.

use crate::step;

/// `cargo xtask sim`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// For the simulator; see `cargo xtask sim --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// A seed fails.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let rest: Vec<_> = arguments.rest.iter().map(String::as_str).collect();
    step::run("simulation", step::program("conclave-sim", &rest))
}

//! The project's own tasks.
//!
//! `cargo xtask check` is the quick half: format, lints, tidy rules, unit tests. `cargo xtask ci` is
//! everything a change must pass, and the README's test command. `cargo xtask soak` runs for as long
//! as it is let. `cargo xtask sim` drives the simulation by hand. `cargo xtask conformance` runs the
//! tests that others wrote, `cargo xtask clients` programs that use published client libraries.

mod check;
mod ci;
mod clients;
mod conformance;
mod needs;
mod sim;
mod soak;
mod step;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Conclave's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, tidy rules and unit tests.
    Check,
    /// Everything a change must pass: `check`, docs, real processes, simulation.
    Ci,
    /// The tidy rules alone.
    Tidy,
    /// Whole clusters in one thread under one seed; a failure prints the command that replays it.
    Sim(sim::Arguments),
    /// Seeds and fault runs until stopped; goes on where it left off.
    Soak(soak::Arguments),
    /// A foreign suite against fresh three-node clusters; what passed is compared by name.
    Conformance(conformance::Arguments),
    /// Client libraries for Node, Java and Go against clusters of three nodes.
    Clients(clients::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check => check::run(),
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
        Task::Sim(arguments) => sim::run(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Conformance(arguments) => conformance::run(&arguments),
        Task::Clients(arguments) => clients::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

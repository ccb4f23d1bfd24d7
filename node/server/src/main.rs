//! `conclaved`: a Conclave node.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use conclave_server::commands::{audit, dev, recover, rejoin, server, snapshot};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A node of a Conclave secrets cluster.
#[derive(Parser)]
#[command(name = "conclaved", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one node from a configuration file.
    Server(server::Arguments),
    /// Sets a node's data aside, so that its next start joins its cluster anew.
    Rejoin(rejoin::Arguments),
    /// Makes this node the whole cluster, after most nodes were lost for good.
    Recover(recover::Arguments),
    /// Starts a whole cluster on this machine, for trying things out: joined, initialised, unsealed.
    Dev(dev::Arguments),
    /// Looks at backup files.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Looks at audit logs.
    #[command(subcommand)]
    Audit(audit::Command),
}

fn main() -> ExitCode {
    conclave_memory::give_back_soon();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing installed a provider before main");
    // Whatever the caller's umask: what this process writes is its owner's only, sled's files too.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let outcome = match Arguments::parse().command {
        Command::Server(arguments) => server::run(arguments),
        Command::Rejoin(arguments) => rejoin::run(arguments),
        Command::Recover(arguments) => recover::run(arguments),
        Command::Dev(arguments) => dev::run(arguments),
        Command::Snapshot(command) => snapshot::run(command),
        Command::Audit(command) => return finish(audit::run(command)),
    };
    finish(outcome.map(|()| ExitCode::SUCCESS))
}

fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("conclaved: {error:#}");
        ExitCode::FAILURE
    })
}

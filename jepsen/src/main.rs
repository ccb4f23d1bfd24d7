//! Black-box fault tests: real processes, real disks, real sockets, and clients that keep a record
//! of every answer.
//!
//! Each workload starts a fresh cluster with `conclaved dev`, does something to it, and checks what
//! the clients were told against what the cluster holds afterwards. It knows no node from inside.

mod cluster;
mod http;
mod pace;
mod proxy;
mod workloads;

use std::process::ExitCode;

use clap::Parser;

use workloads::Workload;

/// Runs fault workloads against real clusters and prints one line of figures for each.
#[derive(Parser)]
#[command(name = "conclave-jepsen", version)]
struct Arguments {
    /// `ci`: what every change must pass. `all`: everything. Else one workload.
    #[arg(value_enum)]
    what: Selection,
    /// Lengthens what is counted or timed by this factor.
    #[arg(long, default_value_t = 1)]
    scale: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Selection {
    Ci,
    All,
    KillLeader,
    KillAll,
    Increments,
    Canary,
    BadInput,
    SealedNode,
    Membership,
    Lifecycle,
}

impl Selection {
    fn workloads(self) -> Vec<Workload> {
        match self {
            Self::Ci | Self::All => Workload::ALL.to_vec(),
            Self::KillLeader => vec![Workload::KillLeader],
            Self::KillAll => vec![Workload::KillAll],
            Self::Increments => vec![Workload::Increments],
            Self::Canary => vec![Workload::Canary],
            Self::BadInput => vec![Workload::BadInput],
            Self::SealedNode => vec![Workload::SealedNode],
            Self::Membership => vec![Workload::Membership],
            Self::Lifecycle => vec![Workload::Lifecycle],
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (mut passed, mut failed) = (0, 0);
    for workload in arguments.what.workloads() {
        println!("-- {}", workload.name());
        match workload.run(arguments.scale).await {
            Ok(figures) => {
                passed += 1;
                println!("   ok: {figures}");
            }
            Err(error) => {
                failed += 1;
                println!("   FAILED: {error:#}");
                println!("   again: cargo run -p conclave-jepsen -- {}", workload.name());
            }
        }
    }
    println!("jepsen: {passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

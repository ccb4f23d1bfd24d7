//! The load driver. It starts a three-node cluster, drives it closed-loop, and prints throughput,
//! latency and the CPU seconds all nodes spent on 1,000 operations, beside the disk's own floor in
//! the same run. Absolute figures belong to the machine; compare ratios.
//!
//! `big-state` watches the nodes' memory while a large state is moved about, and `plot` draws what
//! it and the fault tests measured.

mod big_state;
mod cluster;
mod etcd;
mod floor;
mod http;
mod kv;
mod load;
mod nodes_cpu;
mod pace;
mod plot;
mod programs;
mod sdk;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use cluster::Cluster;
use etcd::Etcd;
use load::{Figures, TABLE_HEAD};

/// Measures durable writes and linearizable reads.
#[derive(Parser)]
#[command(name = "conclave-benches", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: LoadArguments,
}

#[derive(Subcommand)]
enum Command {
    /// Fills a cluster under a memory limit; watches memory and pauses as snapshots come and go.
    BigState(big_state::Arguments),
    /// KV over HTTP with a service token, a policy of 20 rules and an audit log in a file.
    Kv(kv::Arguments),
    /// Draws what was measured: memory curves and failover times.
    Plot(plot::Arguments),
}

#[derive(clap::Args)]
struct LoadArguments {
    /// Seconds a point.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Numbers of clients, each with one request under way.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128])]
    clients: Vec<usize>,
    /// Bytes of a value.
    #[arg(long, default_value_t = 300)]
    value_bytes: usize,
    /// First measures three members of etcd (Debian's package `etcd-server`) in the same way.
    #[arg(long)]
    etcd: bool,
    /// Also writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::BigState(arguments)) => big_state::run(arguments).await,
        Some(Command::Kv(arguments)) => kv::run(arguments).await,
        Some(Command::Plot(arguments)) => plot::run(&arguments),
        None => measure_load(arguments.load).await,
    }
}

async fn measure_load(arguments: LoadArguments) -> anyhow::Result<()> {
    let span = Duration::from_secs(arguments.seconds);
    let floor = floor::measure(span)?;
    println!("floor: one writer, 512 B overwritten in a preallocated file + fdatasync");
    println!(
        "       {:.0}/s, p50 {:.0} us, p99 {:.0} us\n",
        floor.per_second, floor.p50_us, floor.p99_us
    );

    println!("{TABLE_HEAD}");
    let mut all = Vec::new();
    if arguments.etcd {
        all.extend(measure_etcd(&arguments, span).await?);
    }
    let cluster = Cluster::start().await?;
    for operation in sdk::Operation::ALL {
        for &clients in &arguments.clients {
            let figures =
                sdk::run(&cluster, operation, clients, span, arguments.value_bytes).await?;
            println!("{}", figures.row());
            all.push(figures);
        }
    }
    let parts = cluster.write_parts().await?;
    println!(
        "\nWhere the time of one write goes (leader's own histograms, over the whole run):\n{parts}"
    );
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&(floor, all))?)?;
    }
    cluster.stop().await
}

async fn measure_etcd(arguments: &LoadArguments, span: Duration) -> anyhow::Result<Vec<Figures>> {
    let etcd = Etcd::start().await?;
    let mut all = Vec::new();
    for operation in [etcd::Operation::Put, etcd::Operation::Get] {
        for &clients in &arguments.clients {
            let figures = etcd.run(operation, clients, span, arguments.value_bytes).await?;
            println!("{}", figures.row());
            all.push(figures);
        }
    }
    etcd.stop().await?;
    Ok(all)
}

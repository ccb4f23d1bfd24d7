//! `conclaved dev`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::dev::{DevCluster, DevOptions, DevSeal, Phases};
use crate::system;

/// `conclaved dev`
#[derive(clap::Args)]
pub struct Arguments {
    /// How many nodes: 1, 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = parse_nodes)]
    nodes: u16,
    /// Where the nodes keep their data. It is kept; without it a temporary directory is used and
    /// removed at exit.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The first port; each node takes two. Free ports are chosen without it.
    #[arg(long, value_name = "PORT")]
    listen_base_port: Option<u16>,
    /// Writes, once the cluster serves, a JSON document for scripts.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// How the nodes are unsealed after a restart; of a kept directory as at its first start
    /// [default: shamir]
    #[arg(long, value_enum)]
    seal: Option<DevSeal>,
    /// The HTTP API without TLS, for tools that cannot be told whom to trust: everybody on this
    /// machine who can listen in on loopback reads it.
    #[arg(long)]
    plain_http: bool,
    /// Each node writes what its peers say, as it stands inside TLS, to `peer-frames.bin` beside
    /// its configuration. For tests; of a kept directory only at its first start.
    #[arg(long, hide = true)]
    record_peer_frames: bool,
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text {
        "1" | "3" | "5" => text.parse().map_err(|_| String::new()),
        _ => Err("a cluster has 1, 3 or 5 nodes".into()),
    }
}

/// Runs the cluster until Ctrl-C.
///
/// # Errors
/// It did not come up.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise(arguments))
}

async fn supervise(arguments: Arguments) -> anyhow::Result<()> {
    let temporary = match arguments.data_dir {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("conclave-dev-")
                .tempdir()
                .context("a temporary directory cannot be made")?,
        ),
    };
    let data_dir = match (&arguments.data_dir, &temporary) {
        (Some(kept), _) => kept.clone(),
        (None, Some(temporary)) => temporary.path().to_path_buf(),
        (None, None) => unreachable!("one of the two was made above"),
    };
    let options = DevOptions {
        nodes: arguments.nodes,
        data_dir,
        base_port: arguments.listen_base_port,
        seal: arguments.seal,
        plain_http: arguments.plain_http,
        record_peer_frames: arguments.record_peer_frames,
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal was closed: what is temporary must go all the same.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut cluster = DevCluster::start(&options)?;
    let outcome = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
        ended = serve(&mut cluster, arguments.ready_file) => ended,
    };
    cluster.stop().await;
    if outcome.is_err()
        && let Some(temporary) = temporary
    {
        // The error names logs in there.
        let _kept = temporary.keep();
    }
    outcome
}

async fn serve(cluster: &mut DevCluster, ready_file: Option<PathBuf>) -> anyhow::Result<()> {
    let progress = Phases::new();
    let ready = cluster.make_ready(&progress).await;
    progress.finish();
    let ready = ready?;
    ready.print();
    if let Some(path) = ready_file {
        ready.write(&path)?;
    }
    loop {
        if let Some(ended) = cluster.newly_ended() {
            eprintln!("{ended}");
        }
        conclave_ports::Clock::sleep(&system::SystemClock, Duration::from_millis(200)).await;
    }
}

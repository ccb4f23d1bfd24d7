//! `conclaved server`: one node until a signal ends it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use futures::FutureExt;
use futures::future::join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, Listener};
use crate::files::write_private;
use crate::listener::{PublicListener, bind, bind_public};
use crate::logging::{self, LogControl};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::peer::{FrameRecorder, PeerServer};
use crate::system;
use crate::tls::PublicTls;

/// `conclaved server`
#[derive(clap::Args)]
pub struct Arguments {
    /// The configuration, in HCL or JSON: a file, or a directory of *.hcl and *.json files. Given
    /// several times, later files count.
    #[arg(long, value_name = "PATH", required = true)]
    config: Vec<PathBuf>,
    /// Ends when standard input does: how `conclaved dev` makes sure that no node outlives it.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// Runs the node.
///
/// # Errors
/// Whatever keeps it from starting or ends it, in words that name what to do.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    let logging = logging::install(config.log_format, config.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    let outcome = runtime.block_on(serve(arguments, config, logging));
    // Everything that writes has ended; a read of standard input would keep the process for ever.
    runtime.shutdown_background();
    outcome
}

async fn serve(arguments: Arguments, config: Config, logging: LogControl) -> anyhow::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for undone in conclave_memory::harden_process() {
        tracing::warn!("{undone}");
    }
    let metrics = Metrics::install()?;
    let mut public = Vec::new();
    for listener in &config.listeners {
        public.push((listener, load_public_tls(listener, &config)?, bind_public(listener).await?));
    }
    let certificates = public.iter().filter_map(|(_, tls, _)| tls.clone()).collect();
    let cluster = bind(&config.cluster_address, "listener.tcp.cluster_address").await?;
    let node = Node::open(config.clone(), system::ports(), system::boot_id(), metrics).await?;
    // Only now is it sure that no other process has the directory, and so the file.
    if let Some(path) = &config.pid_file {
        write_private(path, std::process::id().to_string().as_bytes())?;
    }

    let mut peers = PeerServer::new(node.tls(), node.clone(), node.clone(), system::ports());
    if let Some(path) = &config.danger_record_peer_frames {
        peers = peers.danger_record(FrameRecorder::open(path)?);
    }
    let (stop_listening, listening) = watch::channel(false);
    let mut doors = Vec::new();
    for (listener, tls, bound) in public {
        let door = PublicListener::new(listener, tls.as_ref(), node.clone())?;
        doors.push(door.serve(bound, listening.clone()));
    }
    tracing::info!(
        api_addr = %config.api_addr,
        cluster_addr = %config.cluster_addr,
        node = config.storage.node_name.as_str(),
        "conclaved is up"
    );
    let stop = async {
        let reason = stop_requested(arguments.exit_with_parent).await;
        tracing::info!(reason, "stopping");
    };
    let mut peers_stop = listening;
    let peers = peers.run(cluster, async move {
        let _ = peers_stop.wait_for(|stop| *stop).await;
    });
    let listeners = async { tokio::join!(join_all(doors), peers).1 };
    let mut listeners = Box::pin(listeners.fuse());
    let outcome = tokio::select! {
        biased;
        ended = node.run(stop) => ended,
        ended = &mut listeners => ended.context("the listeners have ended"),
        () = reload_on_hangup(arguments.config, certificates, logging, &node) => Ok(()),
    };
    // Leadership is with another node: what arrives now is refused, what is under way may finish.
    let _ = stop_listening.send(true);
    let _ = system::ports().within(DRAIN_MAX, listeners).await;
    node.close().await;
    if let Some(path) = &config.pid_file {
        let _ = std::fs::remove_file(path);
    }
    outcome
}

/// The configured certificate, or one made for this start; none for a listener without TLS.
fn load_public_tls(listener: &Listener, config: &Config) -> anyhow::Result<Option<Arc<PublicTls>>> {
    if listener.plain {
        tracing::warn!(
            address = %listener.address,
            "this listener has no TLS: everybody on this machine who can listen in reads what it says"
        );
        return Ok(None);
    }
    let tls = match &listener.tls_files {
        Some(files) => PublicTls::load(files)?,
        None => {
            tracing::warn!(
                "no listener.tcp.tls_cert_file: a certificate that nobody trusts was made for this start"
            );
            PublicTls::make(&[config.api_addr.address().host().to_owned()])?
        }
    };
    Ok(Some(tls))
}

/// Completes with what asked for the stop.
async fn stop_requested(exit_with_parent: bool) -> &'static str {
    let mut terminate = signal(SignalKind::terminate()).expect("the runtime handles signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the runtime handles signals");
    tokio::select! {
        biased;
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv(), if !exit_with_parent => "SIGINT",
        () = parent_gone(), if exit_with_parent => "the parent has ended",
    }
}

/// Completes when standard input ends.
async fn parent_gone() {
    use tokio::io::AsyncReadExt;
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 64];
    while !matches!(stdin.read(&mut buffer).await, Ok(0) | Err(_)) {}
}

/// Re-reads certificate files, the log level and the limits of the disk, and opens audit logs anew,
/// at each `SIGHUP`; never completes.
async fn reload_on_hangup(
    config: Vec<PathBuf>,
    certificates: Vec<Arc<PublicTls>>,
    logging: LogControl,
    node: &Node,
) {
    let mut hangup = signal(SignalKind::hangup()).expect("the runtime handles signals");
    while hangup.recv().await.is_some() {
        node.reopen_audit().await;
        for tls in &certificates {
            match tls.reload() {
                Ok(()) => tracing::info!("certificate files read again"),
                Err(error) => {
                    tracing::error!(%error, "TLS files were not reloaded; the old ones stay");
                }
            }
        }
        match Config::load(&config) {
            Ok(fresh) => {
                node.set_space(fresh.storage.space);
                match logging.set_level(fresh.log_level) {
                    Ok(()) => {
                        tracing::info!(level = ?fresh.log_level, "log level and limits of the disk set")
                    }
                    Err(error) => tracing::error!(%error, "the log level was not changed"),
                }
            }
            Err(error) => {
                tracing::error!(%error, "the configuration cannot be read; nothing changes");
            }
        }
    }
    std::future::pending().await
}

/// For requests under way when the node stops.
const DRAIN_MAX: std::time::Duration = std::time::Duration::from_secs(3);

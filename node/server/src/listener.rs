//! The public listeners: each accepts, does TLS, and hands each connection to its gateway.
//!
//! Invariant: what is not encrypted is served on loopback addresses alone, whatever a name in the
//! configuration resolves to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use conclave_gateway::{Gateway, GatewayConfig};
use conclave_ports::Ports;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::config::{Address, Listener};
use crate::node::Node;
use crate::system;
use crate::tls::PublicTls;

/// Binds `address`; `key` is the configuration key to name where that fails.
///
/// # Errors
/// The address is in use or not ours.
pub async fn bind(address: &Address, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address.host(), address.port())).await.with_context(|| {
        format!("cannot listen on {address} ({key}): free it or configure another address")
    })
}

/// Binds a public listener.
///
/// # Errors
/// The address is in use or not ours, or is not a loopback address where there is no TLS.
pub async fn bind_public(listener: &Listener) -> anyhow::Result<TcpListener> {
    let bound = bind(&listener.address, "listener.tcp.address").await?;
    let local = bound.local_addr()?.ip();
    anyhow::ensure!(
        !listener.plain || local.is_loopback(),
        "{} is {local}, which is no loopback address, and listener.tcp.tls_disable is set: name \
         127.0.0.1 or [::1], or remove tls_disable",
        listener.address
    );
    Ok(bound)
}

/// A listener that clients reach.
pub struct PublicListener {
    gateway: Gateway,
    /// `None` without TLS.
    acceptor: Option<TlsAcceptor>,
    ports: Ports,
    connections: Arc<Semaphore>,
}

impl PublicListener {
    /// Serves `node` with the listener's limits; `tls` is `None` for one without TLS.
    ///
    /// # Errors
    /// The TLS configuration cannot be made.
    pub fn new(
        listener: &Listener,
        tls: Option<&Arc<PublicTls>>,
        node: Arc<Node>,
    ) -> anyhow::Result<Self> {
        let ports = system::ports();
        let gateway = Gateway::new(
            node,
            ports.clone(),
            GatewayConfig {
                request_bytes_max: usize::try_from(listener.request_bytes_max)
                    .unwrap_or(usize::MAX),
                time_limit: listener.request_duration_max,
                unauthenticated_metrics: listener.unauthenticated_metrics_access,
                tls: tls.is_some(),
                json: listener.json,
                ..GatewayConfig::default()
            },
        );
        let acceptor = match tls {
            Some(tls) => Some(TlsAcceptor::from(tls.server_config(listener.tls_version_min)?)),
            None => None,
        };
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Ok(Self { gateway, acceptor, ports, connections })
    }

    /// Accepts until `stop` turns true, then waits until every connection has ended. A connection
    /// that fails never ends the loop.
    pub async fn serve(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut stopping = stop.clone();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => {}
            () = this.accept(&listener, &stop) => {}
        }
        let every = u32::try_from(CONNECTIONS_MAX).expect("the bound is small");
        let _ = this.connections.acquire_many(every).await;
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, stop: &watch::Receiver<bool>) {
        loop {
            let Ok(permit) = self.connections.clone().acquire_owned().await else { return };
            let accepted = listener.accept().await;
            match accepted {
                Ok((stream, peer)) => {
                    let (this, stop) = (self.clone(), stop.clone());
                    self.ports.spawn.spawn(
                        "connection",
                        Box::pin(async move {
                            this.serve_connection(stream, peer, stop).await;
                            drop(permit);
                        }),
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.ports.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve_connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        stop: watch::Receiver<bool>,
    ) {
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = &self.acceptor else {
            self.gateway.serve_connection(TokioIo::new(stream), peer.ip(), stop).await;
            return;
        };
        let handshake = acceptor.accept(stream);
        match self.ports.within(HANDSHAKE_MAX, handshake).await {
            Ok(Ok(stream)) => {
                self.gateway.serve_connection(TokioIo::new(stream), peer.ip(), stop).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS with this client"),
            Err(_) => tracing::debug!(%peer, "a client did not finish its TLS handshake in time"),
        }
    }
}

const CONNECTIONS_MAX: usize = 16_384;
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

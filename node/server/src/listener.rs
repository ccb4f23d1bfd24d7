//! The public listener: accepts, does TLS, and hands each connection to the gateway.

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

use crate::config::{Address, Config};
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

/// The listener that clients reach.
pub struct PublicListener {
    gateway: Gateway,
    acceptor: TlsAcceptor,
    ports: Ports,
    connections: Arc<Semaphore>,
}

impl PublicListener {
    /// Serves `node` with the configured limits.
    ///
    /// # Errors
    /// The TLS configuration cannot be made.
    pub fn new(config: &Config, tls: &Arc<PublicTls>, node: Arc<Node>) -> anyhow::Result<Self> {
        let ports = system::ports();
        let gateway = Gateway::new(
            node,
            ports.clone(),
            GatewayConfig {
                request_bytes_max: usize::try_from(config.listener.request_bytes_max)
                    .unwrap_or(usize::MAX),
                time_limit: config.listener.request_duration_max,
                unauthenticated_metrics: config.listener.unauthenticated_metrics_access,
                tls: true,
                ..GatewayConfig::default()
            },
        );
        Ok(Self {
            gateway,
            acceptor: TlsAcceptor::from(tls.server_config(config.listener.tls_version_min)?),
            ports,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        })
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
        let handshake = self.acceptor.accept(stream);
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

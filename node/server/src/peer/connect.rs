//! Dialling a peer: TCP, then TLS with the key that must answer.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::tls::{Expect, NodeIdentity, peer_client_config};

/// Connects and shakes hands.
pub(super) async fn dial(
    identity: Arc<NodeIdentity>,
    address: String,
    expect: Expect,
) -> io::Result<TlsStream<TcpStream>> {
    let config = peer_client_config(&identity, expect).map_err(io::Error::other)?;
    let tcp = TcpStream::connect(address.as_str()).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, tcp).await
}

/// A channel that connects when it is first used, and again after each break.
pub(super) fn lazy_channel(identity: &Arc<NodeIdentity>, address: &str, expect: Expect) -> Channel {
    let connector = Dialler { identity: Arc::clone(identity), address: address.to_owned(), expect };
    endpoint().connect_with_connector_lazy(connector)
}

/// A channel over one connection that stands already; it is never opened again.
pub(super) fn single_channel(connection: TlsStream<TcpStream>) -> Channel {
    endpoint().connect_with_connector_lazy(Once(Some(connection)))
}

fn endpoint() -> Endpoint {
    Endpoint::from_static("http://peer.conclave.internal")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

/// Dials one address, as often as the channel asks.
struct Dialler {
    identity: Arc<NodeIdentity>,
    address: String,
    expect: Expect,
}

impl Service<Uri> for Dialler {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let dialled = dial(Arc::clone(&self.identity), self.address.clone(), self.expect);
        Box::pin(async move { dialled.await.map(TokioIo::new) })
    }
}

/// Gives away the one connection it has.
struct Once(Option<TlsStream<TcpStream>>);

impl Service<Uri> for Once {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let connection = self.0.take().map(TokioIo::new);
        std::future::ready(connection.ok_or_else(|| io::ErrorKind::ConnectionAborted.into()))
    }
}

/// Never sent; pins name the peer.
const SERVER_NAME: &str = "peer.conclave.internal";
/// TCP and TLS together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
pub(super) const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A full pipe of 1 Gbit/s at 30 ms.
pub(super) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

//! The peer port: takes connections, shakes hands within bounds, and serves gRPC on them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conclave_ports::Ports;
use conclave_proto::v1::join_server::JoinServer;
use conclave_proto::v1::peer_server::PeerServer as PeerGrpc;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::access::{Access, Caller};
use super::connect::{
    CONNECTION_WINDOW_BYTES, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES,
};
use super::join::JoinService;
use super::recorder::FrameRecorder;
use super::service::PeerService;
use super::{MESSAGE_BYTES_MAX, PeerDirectory, PeerHandler};
use crate::tls::{NodeIdentity, TlsError, peer_server_config};

/// The peer port could not be served.
#[derive(Debug, thiserror::Error)]
pub enum PeerServerError {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// gRPC.
    #[error("the peer port ended: {0}; restart the node")]
    Ended(String),
}

/// Serves the peer port of one node.
pub struct PeerServer {
    identity: Arc<NodeIdentity>,
    access: Arc<Access>,
    handler: Arc<dyn PeerHandler>,
    ports: Ports,
    recorder: Option<Arc<FrameRecorder>>,
}

impl PeerServer {
    /// Serves peers with `identity`, trusting whom `directory` names.
    #[must_use]
    pub fn new(
        identity: Arc<NodeIdentity>,
        directory: Arc<dyn PeerDirectory>,
        handler: Arc<dyn PeerHandler>,
        ports: Ports,
    ) -> Self {
        let access = Arc::new(Access::new(directory, Arc::clone(&identity)));
        Self { identity, access, handler, ports, recorder: None }
    }

    /// Records what is said on every connection. **For tests: whoever reads the recording reads
    /// everything that only TLS protects.**
    #[must_use]
    pub fn danger_record(mut self, recorder: FrameRecorder) -> Self {
        self.recorder = Some(Arc::new(recorder));
        self
    }

    /// Serves `listener` until `shutdown` completes, then gives requests under way
    /// two seconds to end.
    ///
    /// # Errors
    /// [`PeerServerError`]; bad connections are not among them.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), PeerServerError> {
        let (connections, incoming) = mpsc::channel(WAITING_CONNECTIONS_MAX);
        let acceptor = Acceptor {
            tls: TlsAcceptor::from(peer_server_config(&self.identity)?),
            access: Arc::clone(&self.access),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            ports: self.ports.clone(),
            recorder: self.recorder.clone(),
            connections,
        };
        self.ports.spawn.spawn("peer accept", acceptor.run(listener).boxed());
        let incoming = ReceiverStream::new(incoming).map(Ok::<_, io::Error>);
        let ended = shutdown.shared();
        let served = self.router().serve_with_incoming_shutdown(incoming, ended.clone());
        let clock = Arc::clone(&self.ports.clock);
        let overdue = async move {
            ended.await;
            clock.sleep(SHUTDOWN_GRACE).await;
        };
        match select(Box::pin(served), Box::pin(overdue)).await {
            Either::Left((Err(error), _)) => Err(PeerServerError::Ended(error.to_string())),
            Either::Left((Ok(()), _)) | Either::Right(_) => Ok(()),
        }
    }

    fn router(&self) -> tonic::transport::server::Router {
        let peer =
            PeerService { access: Arc::clone(&self.access), handler: Arc::clone(&self.handler) };
        let join = JoinService {
            handler: Arc::clone(&self.handler),
            pin: self.identity.pin(),
            process_key: self.ports.random(),
        };
        Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .add_service(
                PeerGrpc::new(peer)
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX),
            )
            .add_service(JoinServer::new(join).max_decoding_message_size(JOIN_BYTES_MAX))
    }
}

/// Turns TCP connections into [`Connection`]s. Whatever a connection does, this goes on.
#[derive(Clone)]
struct Acceptor {
    tls: TlsAcceptor,
    access: Arc<Access>,
    handshakes: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    ports: Ports,
    recorder: Option<Arc<FrameRecorder>>,
    connections: mpsc::Sender<Connection>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        let ended = self.connections.clone();
        let accepting = std::pin::pin!(self.accept_all(listener));
        let closed = std::pin::pin!(ended.closed());
        // Ends when the server dropped its end of the queue.
        select(closed, accepting).await;
    }

    async fn accept_all(&self, listener: TcpListener) {
        loop {
            // Taken before accepting: what waits longer waits in the kernel's bounded queue.
            let Ok(permit) = Arc::clone(&self.handshakes).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((tcp, remote)) => {
                    let task = self.clone().shake_hands(tcp, remote, permit);
                    self.ports.spawn.spawn("peer handshake", task.boxed());
                }
                Err(error) => {
                    tracing::warn!(%error, "a peer connection could not be accepted");
                    self.ports.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn shake_hands(self, tcp: TcpStream, remote: SocketAddr, permit: OwnedSemaphorePermit) {
        let outcome = match self.ports.within(HANDSHAKE_LIMIT, self.connection(tcp, remote)).await {
            Ok(Ok(connection)) => {
                drop(permit);
                // An error means that the server ends; the connection is dropped with it.
                let _ended = self.connections.send(connection).await;
                "ok"
            }
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "a peer handshake failed");
                "failed"
            }
            Err(_) => {
                tracing::debug!(%remote, "a peer handshake took too long");
                "timeout"
            }
        };
        metrics::counter!("conclave_peer_handshakes_total", "outcome" => outcome).increment(1);
    }

    async fn connection(&self, tcp: TcpStream, remote: SocketAddr) -> io::Result<Connection> {
        tcp.set_nodelay(true)?;
        let tls = self.tls.accept(tcp).await?;
        let caller = Caller::of_session(tls.get_ref().1, remote).map_err(io::Error::other)?;
        let stranger = if self.access.is_stranger(&caller) { Some(self.stranger()?) } else { None };
        let access = Arc::clone(&self.access);
        Ok(Connection { tls, caller, access, stranger, recorder: self.recorder.clone() })
    }

    /// Strangers may only join: a few at a time, and not for long, so that they never keep members
    /// or each other out.
    fn stranger(&self) -> io::Result<Stranger> {
        let permit = Arc::clone(&self.strangers)
            .try_acquire_owned()
            .map_err(|_| io::Error::other("too many unknown nodes are connected"))?;
        let end = self.ports.clock.sleep(STRANGER_LIMIT);
        Ok(Stranger { end, bytes_left: STRANGER_BYTES_MAX, _permit: permit })
    }
}

/// A connection whose caller proved to hold a key.
struct Connection {
    tls: TlsStream<TcpStream>,
    caller: Caller,
    access: Arc<Access>,
    stranger: Option<Stranger>,
    recorder: Option<Arc<FrameRecorder>>,
}

impl Connection {
    /// Whether a stranger's limit, which it has just met, ends this connection. Whoever was a
    /// stranger may be none any more: a leader calls on a node before that knows that it was let in.
    fn is_cut_off(&mut self) -> bool {
        if self.access.is_stranger(&self.caller) {
            return true;
        }
        self.stranger = None;
        false
    }

    fn record(&self, bytes: &[u8]) {
        if let Some(recorder) = &self.recorder {
            recorder.record(bytes);
        }
    }
}

struct Stranger {
    end: BoxFuture<'static, ()>,
    bytes_left: usize,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(stranger) = &mut self.stranger
            && stranger.end.poll_unpin(context).is_ready()
        {
            // Polled once more after completing, the timer must not be asked again.
            stranger.end = std::future::ready(()).boxed();
            if self.is_cut_off() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.tls).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if let Some(stranger) = &mut self.stranger {
            // Whole messages are read before anybody asks who sent them.
            match stranger.bytes_left.checked_sub(read) {
                Some(left) => stranger.bytes_left = left,
                None if self.is_cut_off() => {
                    return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
                }
                None => {}
            }
        }
        self.record(&buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tls).poll_write(context, bytes);
        if let Poll::Ready(Ok(taken)) = polled {
            self.record(&bytes[..taken]);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tls).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(mut taken)) = polled {
            for slice in slices {
                let part = taken.min(slice.len());
                self.record(&slice[..part]);
                taken -= part;
            }
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}

/// From the first byte of TCP to the last of TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const HANDSHAKES_MAX: usize = 64;
/// Connections that shook hands and were not yet taken up.
const WAITING_CONNECTIONS_MAX: usize = 16;
const STRANGERS_MAX: usize = 64;
/// Long enough to join while a leader is elected.
const STRANGER_LIMIT: Duration = Duration::from_secs(60);
/// Joining takes a few kilobytes, keep-alive for a minute a few more.
const STRANGER_BYTES_MAX: usize = 64 * 1024;
/// After an accept error, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// A member's: every one of its clients' requests may be on its way to the leader.
const STREAMS_MAX: u32 = 4096;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// What a stranger may send in one message.
const JOIN_BYTES_MAX: usize = 16 * 1024;

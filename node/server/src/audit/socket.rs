//! A log in lines over TCP or a unix socket, or in datagrams over UDP.
//!
//! What the kernel has taken may still be lost with the connection; the numbers of the chain show
//! that at the receiver.

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use conclave_core::audit::{AppendError, LINE_BYTES_MAX, Sink, SinkError, Tail};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::blocking;
use super::config::SocketAddress;

/// The longest line that fits into a datagram.
const DATAGRAM_BYTES_MAX: usize = 60 << 10;

/// Sends lines to one receiver.
pub(super) struct SocketSink {
    address: SocketAddress,
    write_timeout: Duration,
    connection: Option<Connection>,
}

enum Connection {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixStream),
}

impl SocketSink {
    /// The first line connects.
    pub(super) fn new(address: SocketAddress, write_timeout: Duration) -> Self {
        Self { address, write_timeout, connection: None }
    }
}

impl Sink for SocketSink {
    fn append(&mut self, lines: Vec<Bytes>) -> BoxFuture<'_, Result<(), AppendError>> {
        let (address, timeout) = (self.address.clone(), self.write_timeout);
        let connection = self.connection.take();
        async move {
            let sent = blocking(move || Ok(send_all(&address, timeout, connection, &lines))).await;
            let (sent, outcome) = sent.unwrap_or_else(|error| (0, Err(error)));
            self.connection =
                Some(outcome.map_err(|error| AppendError { lines: sent, bytes: 0, error })?);
            Ok(())
        }
        .boxed()
    }

    /// What was sent is the receiver's.
    fn sync(&mut self) -> BoxFuture<'static, Result<(), SinkError>> {
        futures::future::ready(Ok(())).boxed()
    }

    /// The next line connects.
    fn reopen(&mut self) -> BoxFuture<'_, Result<Tail, SinkError>> {
        self.connection = None;
        futures::future::ready(Ok(Tail::EMPTY)).boxed()
    }

    fn line_bytes_max(&self) -> usize {
        match self.address {
            SocketAddress::Udp(_) => DATAGRAM_BYTES_MAX,
            SocketAddress::Tcp(_) | SocketAddress::Unix(_) => LINE_BYTES_MAX,
        }
    }
}

/// Sends each line, over a new connection where the old one has ended; a line of which a part was
/// sent over the old one is sent whole again.
fn send_all(
    address: &SocketAddress,
    timeout: Duration,
    connection: Option<Connection>,
    lines: &[Bytes],
) -> (usize, Result<Connection, SinkError>) {
    let mut connection = connection.filter(Connection::is_open);
    for (sent, line) in lines.iter().enumerate() {
        let outcome = match connection.take() {
            Some(kept) => send_or_connect(kept, address, timeout, line),
            None => connect_and_send(address, timeout, line),
        };
        match outcome {
            Ok(open) => connection = Some(open),
            Err(error) => return (sent, Err(error.into())),
        }
    }
    let connection = connection.map_or_else(|| Connection::open(address, timeout), Ok);
    (lines.len(), connection.map_err(SinkError::from))
}

/// A receiver that is alive and takes nothing is not hurried by another connection.
fn send_or_connect(
    mut kept: Connection,
    address: &SocketAddress,
    timeout: Duration,
    line: &[u8],
) -> io::Result<Connection> {
    match kept.send(line) {
        Ok(()) => Ok(kept),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        Err(_) => connect_and_send(address, timeout, line),
    }
}

fn connect_and_send(
    address: &SocketAddress,
    timeout: Duration,
    line: &[u8],
) -> io::Result<Connection> {
    let mut connection = Connection::open(address, timeout)?;
    connection.send(line)?;
    Ok(connection)
}

impl Connection {
    fn open(address: &SocketAddress, timeout: Duration) -> io::Result<Self> {
        Ok(match address {
            SocketAddress::Tcp(address) => {
                let stream = connect_tcp(address, timeout)?;
                stream.set_write_timeout(Some(timeout))?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
            SocketAddress::Udp(address) => {
                let host = resolve(address)?;
                let any = if host.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.set_write_timeout(Some(timeout))?;
                socket.connect(host)?;
                Self::Udp(socket)
            }
            SocketAddress::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(timeout))?;
                Self::Unix(stream)
            }
        })
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(line),
            Self::Unix(stream) => stream.write_all(line),
            Self::Udp(socket) => socket.send(line).map(drop),
        }
    }

    /// Whether the receiver has not ended the connection. Over TCP a write would not notice at
    /// once; the other kinds fail by themselves.
    fn is_open(&self) -> bool {
        let Self::Tcp(stream) = self else { return true };
        let look = || -> io::Result<usize> {
            stream.set_nonblocking(true)?;
            let received = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            received
        };
        match look() {
            Ok(received) => received > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn connect_tcp(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()?.take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn resolve(address: &str) -> io::Result<std::net::SocketAddr> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    address.to_socket_addrs()?.next().ok_or_else(none)
}

/// Of one name.
const ADDRESSES_MAX: usize = 4;

//! A log in datagrams to the system log (RFC 5424, over its local socket).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_core::audit::{AppendError, Sink, SinkError, Tail};
use conclave_ports::Clock;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::blocking;

/// The longest line: system logs cut longer messages.
const LINE_BYTES_MAX: usize = 60 << 10;

/// For each datagram.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends lines to the system log.
pub(super) struct SyslogSink {
    socket: PathBuf,
    clock: Arc<dyn Clock>,
    priority: u8,
    /// What stands between the time and the line.
    sender: String,
    connection: Option<UnixDatagram>,
}

impl SyslogSink {
    pub(super) fn new(socket: PathBuf, facility: u8, tag: &str, clock: Arc<dyn Clock>) -> Self {
        let sender = format!("{} {tag} {} audit -", host(), std::process::id());
        let priority = facility * 8 + SEVERITY_INFO;
        Self { socket, clock, priority, sender, connection: None }
    }

    fn message(&self, line: &[u8]) -> Vec<u8> {
        let ms = i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        let mut message = format!("<{}>1 {time} {} ", self.priority, self.sender).into_bytes();
        message.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        message
    }
}

impl Sink for SyslogSink {
    fn append(&mut self, lines: Vec<Bytes>) -> BoxFuture<'_, Result<(), AppendError>> {
        let messages: Vec<_> = lines.iter().map(|line| self.message(line)).collect();
        let (socket, connection) = (self.socket.clone(), self.connection.take());
        async move {
            let sent = blocking(move || Ok(send_all(&socket, connection, &messages))).await;
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
        LINE_BYTES_MAX
    }
}

/// Sends each message, over a new connection where the old one has ended: a system log that was
/// started anew has another socket.
fn send_all(
    socket: &PathBuf,
    mut connection: Option<UnixDatagram>,
    messages: &[Vec<u8>],
) -> (usize, Result<UnixDatagram, SinkError>) {
    for (sent, message) in messages.iter().enumerate() {
        let kept = connection.take().filter(|kept| kept.send(message).is_ok());
        let outcome = kept.map_or_else(|| connect_and_send(socket, message), Ok);
        match outcome {
            Ok(open) => connection = Some(open),
            Err(error) => return (sent, Err(error.into())),
        }
    }
    let connection = connection.map_or_else(|| connect(socket).map_err(SinkError::from), Ok);
    (messages.len(), connection)
}

fn connect_and_send(socket: &PathBuf, message: &[u8]) -> io::Result<UnixDatagram> {
    let connection = connect(socket)?;
    connection.send(message)?;
    Ok(connection)
}

fn connect(socket: &PathBuf) -> io::Result<UnixDatagram> {
    let connection = UnixDatagram::unbound()?;
    connection.set_write_timeout(Some(WRITE_TIMEOUT))?;
    connection.connect(socket)?;
    Ok(connection)
}

/// RFC 5424 takes printable ASCII; `-` stands for an unknown host.
fn host() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    let good = !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic());
    if good { name } else { "-".to_owned() }
}

const SEVERITY_INFO: u8 = 6;

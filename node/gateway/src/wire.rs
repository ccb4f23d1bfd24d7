//! A connection's bytes, watched on their way to hyper for what hyper forgives or cannot know:
//! heads that two readers could frame differently, heads that trickle in, and peers that still send
//! when the last answer is out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use conclave_ports::Ports;
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use crate::config::HEAD_BYTES_MAX;

/// What the wire and the requests on it tell each other.
pub(crate) struct Signals {
    /// The next bytes begin an HTTP/1 head.
    expects_head: AtomicBool,
    /// A head was seen that must not be served.
    ambiguous: AtomicBool,
}

impl Signals {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { expects_head: AtomicBool::new(true), ambiguous: AtomicBool::new(false) })
    }

    /// A request was answered: what comes next is a head.
    pub(crate) fn expect_head(&self) {
        self.expects_head.store(true, Ordering::Release);
    }

    /// Whether the request at hand must be refused and its connection closed.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Ordering::Acquire)
    }
}

/// The watched connection.
pub(crate) struct Wire<I> {
    inner: I,
    signals: Arc<Signals>,
    ports: Ports,
    head_time: Duration,
    /// The head so far.
    head: Vec<u8>,
    /// Runs while a head is under way.
    head_limit: Option<BoxFuture<'static, ()>>,
    scratch: Box<[u8]>,
    linger: Option<Linger>,
}

/// After the last answer the peer may still be sending, and a socket that is closed with unread
/// bytes takes the answer back. So the rest is read and dropped, for a while.
struct Linger {
    limit: BoxFuture<'static, ()>,
    bytes_left: usize,
}

impl<I> Wire<I> {
    pub(crate) fn new(inner: I, signals: Arc<Signals>, ports: Ports, head_time: Duration) -> Self {
        let scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
        let head = Vec::new();
        Self { inner, signals, ports, head_time, head, head_limit: None, scratch, linger: None }
    }

    /// Looks at bytes that belong to a head.
    fn watch(&mut self, bytes_read: usize) {
        let seen = self.head.len();
        self.head.extend_from_slice(&self.scratch[..bytes_read]);
        // hyper refuses longer heads by itself.
        let is_over = self.head.len() > HEAD_BYTES_MAX;
        let end = find_head_end(&self.head, seen);
        if let Some(end) = end.filter(|end| is_ambiguous(&self.head[..*end])) {
            tracing::debug!(bytes = end, "a request head could be framed in two ways");
            self.signals.ambiguous.store(true, Ordering::Release);
        }
        if end.is_some() || is_over {
            self.signals.expects_head.store(false, Ordering::Release);
            self.head = Vec::new();
            self.head_limit = None;
        } else if self.head_limit.is_none() {
            self.head_limit = Some(self.ports.clock.sleep(self.head_time));
        }
    }

    /// Ends the connection where a head has been under way for too long.
    fn poll_head_limit(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(limit) = &mut self.head_limit else { return Ok(()) };
        if limit.poll_unpin(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the head took too long"));
        }
        Ok(())
    }
}

impl<I: Read + Unpin> Read for Wire<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.signals.expects_head.load(Ordering::Acquire) {
            return Pin::new(&mut this.inner).poll_read(context, out);
        }
        this.poll_head_limit(context)?;
        let room = out.remaining().min(this.scratch.len());
        let mut buffer = ReadBuf::new(&mut this.scratch[..room]);
        let read = Pin::new(&mut this.inner).poll_read(context, buffer.unfilled());
        let bytes_read = buffer.filled().len();
        ready!(read)?;
        out.put_slice(&this.scratch[..bytes_read]);
        if bytes_read > 0 {
            this.watch(bytes_read);
            // Registers the waker of a limit that has just begun.
            this.poll_head_limit(context)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Read + Write + Unpin> Write for Wire<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let linger = match &mut this.linger {
            Some(linger) => linger,
            none => {
                ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
                let limit = this.ports.clock.sleep(LINGER_TIME);
                none.insert(Linger { limit, bytes_left: LINGER_BYTES_MAX })
            }
        };
        while linger.bytes_left > 0 && linger.limit.poll_unpin(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut this.scratch);
            let read = Pin::new(&mut this.inner).poll_read(context, buffer.unfilled());
            match ready!(read).map(|()| buffer.filled().len()) {
                Ok(0) | Err(_) => break,
                Ok(bytes_read) => {
                    linger.bytes_left = linger.bytes_left.saturating_sub(bytes_read);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }
}

/// Where the head ends, if it does; `seen` bytes were looked at before.
fn find_head_end(head: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    let fresh = &head[from..];
    let crlf = fresh.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    // A reader who takes a bare line feed for a line's end sees the head end here.
    let bare = fresh.windows(2).position(|window| window == b"\n\n").map(|at| at + 2);
    [crlf, bare].into_iter().flatten().min().map(|end| from + end)
}

/// Whether two readers could frame this message differently: it says its length more than once, or
/// has lines that end in a bare line feed. What is no HTTP/1 head is not judged: it is the
/// preface of HTTP/2, or the rest of a body that was refused unread.
fn is_ambiguous(head: &[u8]) -> bool {
    let Some((request_line, fields)) = split_line(head) else { return false };
    if !request_line
        .trim_ascii_end()
        .rsplit(|byte| *byte == b' ')
        .next()
        .is_some_and(|version| version.starts_with(b"HTTP/1."))
    {
        return false;
    }
    let count = |name: &[u8]| {
        let lines = fields.split(|byte| *byte == b'\n');
        lines.filter(|line| field_name(line).eq_ignore_ascii_case(name)).count()
    };
    let (lengths, encodings) = (count(b"content-length"), count(b"transfer-encoding"));
    let bare_line_feed = head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
    bare_line_feed || lengths + encodings > 1
}

/// What stands before a header line's colon.
fn field_name(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii()
}

fn split_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = head.iter().position(|byte| *byte == b'\n')?;
    Some((&head[..end], &head[end + 1..]))
}

const SCRATCH_BYTES: usize = 8 << 10;

/// How long a peer may go on sending after the last answer.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// How much of it is read.
const LINGER_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heads_with_two_readings_are_ambiguous() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nhost: c\r\n\r\n", false),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\n", false),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("POST / HTTP/1.1\r\ntransfer-encoding : x\r\nContent-Length:1\r\n\r\n", true),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", true),
            ("GET / HTTP/1.1\nhost: c\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nhost: c\n\n", true),
            ("PRI * HTTP/2.0\r\n\r\n", false),
            ("{\n\"content-length\":1}\n\n", false),
        ] {
            assert_eq!(is_ambiguous(head.as_bytes()), expected, "{head:?}");
        }
    }

    #[test]
    fn a_heads_end_is_found_across_reads() {
        let head = b"GET / HTTP/1.1\r\nhost: c\r\n\r\n{\n\n";
        for seen in 0..head.len() - 4 {
            assert_eq!(find_head_end(head, seen.min(24)), Some(27), "{seen}");
        }
        assert_eq!(find_head_end(b"GET / HTTP/1.1\r\nhost: c\r\n", 0), None);
        assert_eq!(find_head_end(b"GET / HTTP/1.1\n\n", 0), Some(16));
    }
}

//! Where a device's lines go: a file, a system log, a socket, or a test's memory.

use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::Tail;

/// Takes lines. One task uses a sink, one call at a time, and lets every call come to its end.
pub trait Sink: Send + 'static {
    /// Hands whole lines, each with its newline, to the kernel.
    ///
    /// # Errors
    /// How much it took before it failed.
    fn append(&mut self, lines: Vec<Bytes>) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Makes durable what was appended before the call. It runs beside later appends.
    ///
    /// # Errors
    /// Some of it may be lost.
    fn sync(&mut self) -> BoxFuture<'static, Result<(), SinkError>>;

    /// Opens the same place anew: for rotation, and after a failure.
    ///
    /// # Errors
    /// It cannot be opened; what was open before goes on being used.
    fn reopen(&mut self) -> BoxFuture<'_, Result<Tail, SinkError>>;

    /// The longest line that it takes.
    fn line_bytes_max(&self) -> usize;
}

/// Why lines were not all taken.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct AppendError {
    /// Lines that were taken whole.
    pub lines: usize,
    /// Bytes that were taken of the next one, and to which its rest may still be appended.
    pub bytes: usize,
    /// What went wrong.
    pub error: SinkError,
}

/// What can go wrong with a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// There is no room.
    #[error("there is no space left for the audit log; free some, then it goes on by itself")]
    Full,
    /// It did not take the lines in its time.
    #[error("the audit device did not take a record in time; see whether its receiver is alive")]
    TimedOut,
    /// Something else stands in its place.
    #[error("{0}")]
    Unusable(String),
    /// The operating system's reason.
    #[error("the audit device failed; it is tried again by itself ({0})")]
    Io(#[source] io::Error),
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

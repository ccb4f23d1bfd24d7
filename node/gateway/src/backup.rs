//! Backups on their way through a door: bounded in size and patience, never held whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use conclave_ports::{Elapsed, Ports};
use futures::StreamExt;
use futures::stream;

use crate::SnapshotBytes;
use crate::admission::Permit;

/// What a backup that comes in may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// All of it.
    pub(crate) bytes_max: u64,
    /// How long it may stand still.
    pub(crate) idle_time: Duration,
}

/// The same bytes up to the first that breaks a bound, which is an error in their place.
pub(crate) fn bounded(parts: SnapshotBytes, bounds: Bounds, ports: Ports) -> SnapshotBytes {
    let begin = Some((parts, 0_u64));
    let next = move |state: Option<(SnapshotBytes, u64)>| {
        let ports = ports.clone();
        async move {
            let (mut parts, before) = state?;
            let part = match ports.within(bounds.idle_time, parts.next()).await {
                Ok(part) => part?,
                Err(Elapsed) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "nothing more of it came for too long",
                )),
            };
            let sum = before + part.as_ref().map_or(0, |part| part.len() as u64);
            match part {
                Ok(_) if sum > bounds.bytes_max => Some((Err(too_large(bounds.bytes_max)), None)),
                Ok(part) => Some((Ok(part), Some((parts, sum)))),
                Err(error) => Some((Err(error), None)),
            }
        }
    };
    stream::unfold(begin, next).boxed()
}

/// The same bytes; the permit of their request lives as long as they do.
pub(crate) fn holding(bytes: SnapshotBytes, permit: Arc<Permit>) -> SnapshotBytes {
    bytes
        .map(move |part| {
            let _held = &permit;
            part
        })
        .boxed()
}

/// What says that a backup is longer than this node takes.
pub(crate) fn too_large(bytes_max: u64) -> io::Error {
    let text = format!("the backup is above {bytes_max} bytes; raise the limit of the listener");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

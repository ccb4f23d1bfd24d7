//! Work that reads and writes many files.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::AsyncRuntime;

/// Runs `work` where it may block: on a thread of the runtime's, or right here where the runtime
/// has none (the simulated one answers `Unsupported`).
pub(crate) async fn run<R, T>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T>
where
    R: AsyncRuntime,
    T: Send + 'static,
{
    // The runtime drops what it refuses to run; the slot lets us have it back.
    let slot = Arc::new(Mutex::new(Some(work)));
    let theirs = slot.clone();
    let ran = R::spawn_blocking(move || take(&theirs).map(|work| work())).await;
    match ran {
        Ok(Some(value)) => Ok(value),
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        Ok(None) | Err(_) => match take(&slot) {
            Some(work) => Ok(work()),
            None => Err(io::Error::other("blocking work was lost")),
        },
    }
}

fn take<W>(slot: &Mutex<Option<W>>) -> Option<W> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

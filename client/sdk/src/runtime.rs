//! The one file that reads clocks, sleeps and starts tasks.
//!
//! A client runs in its user's process, in real time, so it takes no ports; keeping all of it here
//! keeps the rest readable under the rule that the nodes live by.

use std::time::{Duration, Instant};

/// The monotonic time.
#[expect(clippy::disallowed_methods, reason = "the client's one monotonic clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "the client's one sleep")]
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The future's output, or `None` once the time is over. The future is dropped then.
#[expect(clippy::disallowed_methods, reason = "the client's one time-out")]
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// Runs a future beside the caller.
#[expect(clippy::disallowed_methods, reason = "the client's one background task, discovery")]
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

/// Runs what waits for a file beside the caller.
pub(crate) fn spawn_blocking(work: impl FnOnce() + Send + 'static) {
    drop(tokio::task::spawn_blocking(work));
}

/// A seed for jitter: differs between processes and between clients of one process. Nothing
/// secret hangs on it.
#[expect(clippy::disallowed_methods, reason = "a seed for jitter only")]
pub(crate) fn make_seed() -> u64 {
    let wall = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64);
    let place = Box::new(0_u8);
    let address = std::ptr::from_ref::<u8>(&place) as u64;
    (wall ^ address.rotate_left(32) ^ u64::from(std::process::id())) | 1
}

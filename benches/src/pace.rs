//! Time and tasks, in the one place of this program that touches them.

use std::time::{Duration, Instant};

/// Now, for measuring.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "a benchmark waits in real time")]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Polls `check` until it is true; an error that names `what` after `limit`.
pub(crate) async fn until(
    limit: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let begun = now();
    while !check().await? {
        anyhow::ensure!(begun.elapsed() < limit, "{what} did not happen within {limit:?}");
        pause(POLL).await;
    }
    Ok(())
}

/// Starts a task.
#[expect(clippy::disallowed_methods, reason = "a benchmark runs on tokio itself")]
pub(crate) fn task<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}

const POLL: Duration = Duration::from_millis(20);

//! Time, in the one place of these tests that reads it.

use std::time::{Duration, Instant};

/// Now, for measuring.
#[expect(clippy::disallowed_methods, reason = "black-box tests measure real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "black-box tests wait in real time")]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Runs `future` for at most `limit`; an error that names `what` otherwise.
#[expect(clippy::disallowed_methods, reason = "black-box tests wait in real time")]
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> anyhow::Result<T> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| anyhow::anyhow!("{what} did not happen within {limit:?}"))
}

/// Polls `check` until it is true.
pub(crate) async fn until(
    limit: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> bool,
) -> anyhow::Result<()> {
    within(limit, what, async {
        while !check().await {
            pause(POLL).await;
        }
    })
    .await
}

/// Starts a task.
#[expect(clippy::disallowed_methods, reason = "black-box tests run on tokio itself")]
pub(crate) fn task<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}

const POLL: Duration = Duration::from_millis(20);

//! Letting other tasks run.

use std::task::Poll;

/// Completes at the second poll, after everything that was runnable ran. Works on any runtime.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

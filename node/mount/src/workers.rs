//! Long computations beside the tasks that serve requests.

use futures::channel::oneshot;

use crate::{EngineError, ErrorCode};

/// Threads for work that computes for milliseconds and more: hashing a password. A task that did it
/// in place would keep every other request of its thread waiting.
///
/// The composition root hands the real one to the engines that need it; it bounds how many run and
/// how many wait.
pub trait Workers: Send + Sync + 'static {
    /// Runs `work` on such a thread. Whether it was taken: false where too much waits already.
    fn start(&self, work: Box<dyn FnOnce() + Send>) -> bool;
}

/// What `work` returns, computed by a worker. Where the request ends early, the work goes on to its
/// end and its result is dropped.
///
/// # Errors
/// `Busy` where too much waits; `Internal` where the work ended without a result.
pub async fn compute<T: Send + 'static>(
    workers: &dyn Workers,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineError> {
    let (sender, result) = oneshot::channel();
    let started = workers.start(Box::new(move || {
        // Nobody waits any more where the request has ended.
        let _ = sender.send(work());
    }));
    if !started {
        return Err(EngineError::new(
            ErrorCode::Busy,
            "too many passwords are being checked; try again",
        ));
    }
    result.await.map_err(|_| EngineError::internal("a computation ended without a result"))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::testing::Inline;

    struct Full;

    impl Workers for Full {
        fn start(&self, _: Box<dyn FnOnce() + Send>) -> bool {
            false
        }
    }

    struct Dies;

    impl Workers for Dies {
        fn start(&self, work: Box<dyn FnOnce() + Send>) -> bool {
            drop(work);
            true
        }
    }

    #[test]
    fn a_result_or_a_reason_comes_back() {
        let run = |workers: &dyn Workers| {
            compute(workers, || 7).now_or_never().expect("ready").map_err(|error| error.code)
        };
        assert_eq!(run(&Inline), Ok(7));
        assert_eq!(run(&Full), Err(ErrorCode::Busy));
        assert_eq!(run(&Dies), Err(ErrorCode::Internal));
    }
}

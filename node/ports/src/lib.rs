//! The outside world of a node's logic: time, randomness and tasks.
//!
//! Everything that decides takes these as parameters, so that a whole cluster runs in one thread
//! under one seed. The real implementations live in `conclave-server`, the simulated ones in
//! `conclave-sim`; nothing else reads a clock or a random source or starts a task.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

/// Wall-clock and monotonic time, and sleeping.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May jump.
    fn wall_ms(&self) -> u64;

    /// Time since an arbitrary origin, never going back, counting suspended time.
    fn monotonic(&self) -> Duration;

    /// Completes once `duration` of monotonic time has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A cryptographically strong random source.
pub trait Rng: Send + Sync + 'static {
    /// Fills `out` with random bytes. A source that fails ends the process: no caller can go on
    /// without it.
    fn fill(&self, out: &mut [u8]);
}

/// Starts tasks that outlive their caller.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `task` until it ends. The name is for traces.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

/// The ports of one node, handed down from the composition root.
#[derive(Clone)]
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Tasks.
    pub spawn: Arc<dyn Spawn>,
}

/// The time ran out before the future completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl Ports {
    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill(&mut bytes);
        bytes
    }

    /// Runs `future` for at most `limit`.
    ///
    /// # Errors
    /// [`Elapsed`] where the limit came first; the future is dropped then.
    pub async fn within<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let future = std::pin::pin!(future);
        match futures::future::select(future, self.clock.sleep(limit)).await {
            futures::future::Either::Left((value, _)) => Ok(value),
            futures::future::Either::Right(_) => Err(Elapsed),
        }
    }
}

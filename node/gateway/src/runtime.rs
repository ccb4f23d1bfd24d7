//! What hyper asks of a runtime, answered by the node's ports.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use conclave_ports::Ports;
use futures::future::BoxFuture;
use hyper::rt::{Executor, Sleep, Timer};

/// Runs HTTP/2 streams as tasks of the node.
#[derive(Clone)]
pub(crate) struct PortsExecutor(pub(crate) Ports);

impl<F> Executor<F> for PortsExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn.spawn("gateway stream", Box::pin(task));
    }
}

/// The node's clock as hyper's timer. hyper speaks in `Instant`s; only their distance from one
/// arbitrary origin is used.
#[derive(Clone)]
pub(crate) struct PortsTimer {
    ports: Ports,
    origin: Instant,
    origin_monotonic: Duration,
}

impl PortsTimer {
    pub(crate) fn new(ports: Ports) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin only; time comes from the port")]
        let origin = Instant::now();
        let origin_monotonic = ports.clock.monotonic();
        Self { ports, origin, origin_monotonic }
    }
}

impl Timer for PortsTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(PortsSleep(Mutex::new(self.ports.clock.sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        self.origin + self.ports.clock.monotonic().saturating_sub(self.origin_monotonic)
    }
}

/// The mutex is never locked: it makes a future `Sync` that is only ever polled through `&mut`.
struct PortsSleep(Mutex<BoxFuture<'static, ()>>);

impl Sleep for PortsSleep {}

impl Future for PortsSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.0.get_mut() {
            Ok(sleep) => sleep.as_mut().poll(context),
            Err(_) => Poll::Ready(()),
        }
    }
}

//! A request's body, which is read to its end even where nobody wants it.
//!
//! HTTP/2 resets a stream whose body is dropped half read, and many clients then forget the answer
//! that came before the reset. So the rest is read and thrown away, in a task of its own and within
//! bounds. HTTP/1 has no such reset: what is left of it there is the wire's to linger over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use conclave_ports::Ports;
use http::{Request, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::Semaphore;

/// Reads and throws away what is left of bodies. Clones share one bound.
#[derive(Clone)]
pub(crate) struct Discarder {
    tasks: Arc<Semaphore>,
    ports: Ports,
}

/// A body that goes to the discarder when it is dropped before its end.
pub(crate) struct Inbound {
    /// Taken by the drop only.
    body: Option<Incoming>,
    discarder: Option<Discarder>,
}

impl Discarder {
    pub(crate) fn new(ports: Ports) -> Self {
        Self { tasks: Arc::new(Semaphore::new(DISCARDS_MAX)), ports }
    }

    /// The same request, with the rest of its body in this discarder's care.
    pub(crate) fn watch(&self, request: Request<Incoming>) -> Request<Inbound> {
        let discarder = (request.version() == Version::HTTP_2).then(|| self.clone());
        request.map(|body| Inbound { body: Some(body), discarder })
    }

    /// Takes the rest of a body, or drops it at once where too many are being read already.
    fn discard(&self, mut body: Incoming) {
        let Ok(permit) = Arc::clone(&self.tasks).try_acquire_owned() else { return };
        let ports = self.ports.clone();
        let task = async move {
            // Whether the end, a bound or an error came first, the body has had its chance.
            let _ = ports.within(DISCARD_TIME, read_away(&mut body)).await;
            drop((body, permit));
        };
        self.ports.spawn.spawn("gateway discard", Box::pin(task));
    }
}

async fn read_away(body: &mut Incoming) {
    let mut left = DISCARD_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.discarder = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let (Some(body), Some(discarder)) = (self.body.take(), &self.discarder) else { return };
        if !body.is_end_stream() {
            discarder.discard(body);
        }
    }
}

/// How much of one body is read for nothing.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// How long one body is read for nothing.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// How many bodies are read for nothing at once; as many as one connection has streams.
const DISCARDS_MAX: usize = 256;

//! Budgets: how many requests, and how many bytes of bodies, are held at once.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use conclave_ports::{Elapsed, Ports};
use conclave_proto::ErrorCode;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::GatewayConfig;
use crate::config::Limits;
use crate::refusal::Refusal;

/// What every connection of the node shares.
pub(crate) struct Admission {
    requests: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
    body_bytes_max: usize,
    body_time_limit: std::time::Duration,
    ports: Ports,
}

/// A request's share of the budgets, given back on drop. It travels with the work, not with the
/// connection: a caller that hangs up does not get room for another request while the first runs.
pub(crate) struct Permit {
    _request: OwnedSemaphorePermit,
    body: Option<OwnedSemaphorePermit>,
}

impl Admission {
    pub(crate) fn new(config: &GatewayConfig, limits: &Limits, ports: Ports) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests_in_flight_max)),
            body_bytes: Arc::new(Semaphore::new(limits.body_bytes_in_flight_max)),
            body_bytes_max: config.request_bytes_max,
            body_time_limit: limits.body_time,
            ports,
        }
    }

    /// Admits a request, or refuses it at once: a queue here would only hide the overload.
    pub(crate) fn admit(&self) -> Result<Permit, Refusal> {
        let request = Arc::clone(&self.requests)
            .try_acquire_owned()
            .map_err(|_| Refusal::busy("requests"))?;
        Ok(Permit { _request: request, body: None })
    }

    /// Reads a whole body within its size, its time and the memory of all bodies.
    pub(crate) async fn read_body<B>(&self, body: B, permit: &mut Permit) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        // The lower bound of the size hint is the content length where one was sent.
        let announced = body.size_hint().lower();
        if announced > self.body_bytes_max as u64 {
            return Err(self.too_large());
        }
        match self.ports.within(self.body_time_limit, self.collect(body, permit)).await {
            Ok(outcome) => outcome,
            Err(Elapsed) => Err(Refusal::new(
                ErrorCode::DeadlineExceeded,
                "the body did not arrive in time; send it faster or in smaller requests",
            )
            .with_http_status(408)),
        }
    }

    async fn collect<B>(&self, mut body: B, permit: &mut Permit) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Refusal::invalid("the body ended early or is framed badly; send the request again")
            })?;
            // Trailers say nothing that a request could mean.
            let Ok(chunk) = frame.into_data() else { continue };
            if first.len() + rest.len() + chunk.len() > self.body_bytes_max {
                return Err(self.too_large());
            }
            self.reserve(chunk.len(), permit)?;
            // Most bodies are one chunk, which is then used where it lies.
            if first.is_empty() {
                first = chunk;
            } else {
                rest.extend_from_slice(&chunk);
            }
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.unsplit(rest);
        Ok(whole.freeze())
    }

    fn reserve(&self, bytes: usize, permit: &mut Permit) -> Result<(), Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| self.too_large())?;
        let more = Arc::clone(&self.body_bytes)
            .try_acquire_many_owned(bytes)
            .map_err(|_| Refusal::busy("large bodies"))?;
        match &mut permit.body {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    fn too_large(&self) -> Refusal {
        Refusal::new(
            ErrorCode::TooLarge,
            format!("the body is above {} bytes; send less at once", self.body_bytes_max),
        )
    }
}

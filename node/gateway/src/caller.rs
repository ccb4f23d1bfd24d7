//! The way from either door into the service: with a time limit, and so that a caller who hangs up
//! cannot cut a write in half.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::{Operation, Request, Response};
use conclave_ports::{Elapsed, Ports};
use conclave_proto::ErrorCode;
use futures::channel::oneshot;
use futures::future::BoxFuture;

use crate::admission::Permit;
use crate::backup::{self, Bounds};
use crate::config::{JsonLimits, Limits, TIME_LIMIT_GRACE};
use crate::refusal::Refusal;
use crate::{GatewayConfig, Service, SnapshotBytes};

/// Calls the service for both doors.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) service: Arc<dyn Service>,
    ports: Ports,
    pub(crate) time_limit: Duration,
    /// Of every body that is JSON.
    pub(crate) json: JsonLimits,
    /// Of what is streamed in.
    bounds: Bounds,
}

type Outcome<T> = Result<T, conclave_core::Error>;

impl Caller {
    pub(crate) fn new(
        service: Arc<dyn Service>,
        ports: Ports,
        config: &GatewayConfig,
        limits: &Limits,
    ) -> Self {
        let bounds = Bounds { bytes_max: config.backup_bytes_max, idle_time: limits.body_time };
        let json = config.json.bounded();
        Self { service, ports, time_limit: config.time_limit, json, bounds }
    }

    /// Serves `request`. Reads are dropped with their caller; whatever may write runs to its end.
    pub(crate) async fn call(
        &self,
        request: Request,
        permit: Arc<Permit>,
    ) -> Result<Response, Refusal> {
        match request.operation {
            Operation::Read | Operation::List | Operation::Scan => {
                let call = self.service.call(request);
                let outcome = self.ports.within(self.time_limit + TIME_LIMIT_GRACE, call).await;
                drop(permit);
                match outcome {
                    Ok(outcome) => outcome.map_err(Refusal::from),
                    Err(Elapsed) => Err(Refusal::from_code(ErrorCode::DeadlineExceeded)),
                }
            }
            Operation::Write | Operation::Delete | Operation::Patch => {
                self.detached(permit, |service| {
                    Box::pin(async move { service.call(request).await })
                })
                .await
            }
        }
    }

    /// A backup, for as long as its caller reads it. Who hangs up ends it.
    pub(crate) async fn save(
        &self,
        request: Request,
        permit: Arc<Permit>,
    ) -> Result<SnapshotBytes, Refusal> {
        let bytes = self.service.save_snapshot(request).await?;
        Ok(backup::holding(bytes, permit))
    }

    /// Restores what `parts` bring. They may take any time as long as they keep coming, and once all
    /// of them are there the work runs to its end even if nobody waits for it.
    pub(crate) async fn restore(
        &self,
        request: Request,
        force: bool,
        parts: SnapshotBytes,
        permit: Arc<Permit>,
    ) -> Result<Response, Refusal> {
        let parts = backup::bounded(parts, self.bounds, self.ports.clone());
        let answered = self.begin(permit, |service| {
            Box::pin(async move { service.restore_snapshot(request, force, parts).await })
        });
        match answered.await {
            Ok(outcome) => outcome.map_err(Refusal::from),
            Err(oneshot::Canceled) => Err(Refusal::internal("a restore's task ended early")),
        }
    }

    /// What `next` brings, unless it keeps its caller waiting for too long.
    pub(crate) async fn patiently<T>(&self, next: impl Future<Output = T>) -> Result<T, Refusal> {
        self.ports.within(self.bounds.idle_time, next).await.map_err(|Elapsed| {
            Refusal::new(ErrorCode::DeadlineExceeded, "nothing came for too long; send it again")
        })
    }

    /// The longest backup that is taken.
    pub(crate) fn backup_bytes_max(&self) -> u64 {
        self.bounds.bytes_max
    }

    /// Runs `work` as a task of its own, which ends by itself even if nobody waits for it.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        permit: Arc<Permit>,
        work: impl FnOnce(Arc<dyn Service>) -> BoxFuture<'static, Outcome<T>>,
    ) -> Result<T, Refusal> {
        let answered = self.begin(permit, work);
        match self.ports.within(self.time_limit + TIME_LIMIT_GRACE, answered).await {
            Ok(Ok(outcome)) => outcome.map_err(Refusal::from),
            Ok(Err(oneshot::Canceled)) => Err(Refusal::internal("a request's task ended early")),
            Err(Elapsed) => Err(Refusal::from_code(ErrorCode::OutcomeUnknown)),
        }
    }

    fn begin<T: Send + 'static>(
        &self,
        permit: Arc<Permit>,
        work: impl FnOnce(Arc<dyn Service>) -> BoxFuture<'static, Outcome<T>>,
    ) -> oneshot::Receiver<Outcome<T>> {
        let (answer, answered) = oneshot::channel();
        let work = work(Arc::clone(&self.service));
        let task = async move {
            let outcome = work.await;
            drop(permit);
            // Nobody listens where the caller hung up.
            let _ = answer.send(outcome);
        };
        self.ports.spawn.spawn("gateway request", Box::pin(task));
        answered
    }
}

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
use crate::config::TIME_LIMIT_GRACE;
use crate::refusal::Refusal;
use crate::{GatewayConfig, Service};

/// Calls the service for both doors.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) service: Arc<dyn Service>,
    ports: Ports,
    pub(crate) time_limit: Duration,
}

type Outcome<T> = Result<T, conclave_core::Error>;

impl Caller {
    pub(crate) fn new(service: Arc<dyn Service>, ports: Ports, config: &GatewayConfig) -> Self {
        Self { service, ports, time_limit: config.time_limit }
    }

    /// Serves `request`. Reads are dropped with their caller; whatever may write runs to its end.
    pub(crate) async fn call(
        &self,
        request: Request,
        permit: Arc<Permit>,
    ) -> Result<Response, Refusal> {
        match request.operation {
            Operation::Read | Operation::List => {
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

    /// Runs `work` as a task of its own, which ends by itself even if nobody waits for it.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        permit: Arc<Permit>,
        work: impl FnOnce(Arc<dyn Service>) -> BoxFuture<'static, Outcome<T>>,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let work = work(Arc::clone(&self.service));
        let task = async move {
            let outcome = work.await;
            drop(permit);
            // Nobody listens where the caller hung up.
            let _ = answer.send(outcome);
        };
        self.ports.spawn.spawn("gateway request", Box::pin(task));
        match self.ports.within(self.time_limit + TIME_LIMIT_GRACE, answered).await {
            Ok(Ok(outcome)) => outcome.map_err(Refusal::from),
            Ok(Err(oneshot::Canceled)) => Err(Refusal::internal("a request's task ended early")),
            Err(Elapsed) => Err(Refusal::from_code(ErrorCode::OutcomeUnknown)),
        }
    }
}

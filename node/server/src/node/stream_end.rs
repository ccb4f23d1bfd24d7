//! How a stream ended, for the audit log: also where its client went away.

use std::sync::Arc;

use conclave_core::{Admitted, Error, ErrorCode, Request, Response};
use conclave_ports::Ports;

/// A request that was let in and moves bytes beside the pipeline. Dropped before its end is reached, it
/// says that the client went away.
pub(super) struct StreamEnd {
    open: Option<Admitted>,
    revision: u64,
    request: Arc<Request>,
    ports: Ports,
}

impl StreamEnd {
    pub(super) fn new(admitted: Admitted, request: Arc<Request>, ports: Ports) -> Self {
        let revision = admitted.revision();
        Self { open: Some(admitted), revision, request, ports }
    }

    /// That the caller was admitted at.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// Logs how it ended.
    ///
    /// # Errors
    /// As of [`Admitted::conclude`].
    pub(super) async fn reach(
        &mut self,
        answer: Result<Response, Error>,
    ) -> Result<Response, Error> {
        let Some(admitted) = self.open.take() else { return answer };
        admitted.conclude(&self.request, answer).await
    }

    /// The same of a refusal.
    pub(super) async fn fail(&mut self, error: Error) -> Error {
        match self.reach(Err(error)).await {
            Err(error) => error,
            Ok(_) => Error::internal("the audit log made an answer of a refusal"),
        }
    }
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        let (Some(admitted), request) = (self.open.take(), self.request.clone()) else { return };
        let record = async move {
            let gone = Error::new(ErrorCode::Unavailable, "the client went away before the end");
            // Nobody is left to be told where no device takes it; the node's log has that.
            let _ = admitted.conclude(&request, Err(gone)).await;
        };
        self.ports.spawn.spawn("end-of-stream", Box::pin(record));
    }
}

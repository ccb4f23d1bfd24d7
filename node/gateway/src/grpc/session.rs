//! `Session`: what makes requests safe to send twice.

use conclave_core::Operation;
use conclave_proto::v1::session_server::Session;
use conclave_proto::v1::{
    SessionCloseRequest, SessionCloseResponse, SessionOpenRequest, SessionOpenResponse,
};
use serde::Deserialize;
use tonic::{Request, Response, Status, async_trait};

use super::Handlers;
use super::context::{Ask, open};
use crate::refusal::Refusal;

#[async_trait]
impl Session for Handlers {
    async fn open(
        &self,
        request: Request<SessionOpenRequest>,
    ) -> Result<Response<SessionOpenResponse>, Status> {
        let (context, message) = open(request)?;
        let body = match message.ttl_ms {
            0 => "{}".to_owned(),
            ttl_ms => serde_json::json!({ "ttl_ms": ttl_ms }).to_string(),
        };
        let ask = Ask::new(Operation::Write, "sys/sessions/open".to_owned()).with_body(body);
        let answered = self.call(context, ask).await?;
        let opened: Opened = answered.parse()?;
        let session = hex::decode(&opened.session)
            .map_err(|_| Refusal::internal("the core's session is not hex"))?;
        Ok(Response::new(SessionOpenResponse { session: session.into(), ttl_ms: opened.ttl_ms }))
    }

    async fn close(
        &self,
        request: Request<SessionCloseRequest>,
    ) -> Result<Response<SessionCloseResponse>, Status> {
        let (context, message) = open(request)?;
        let body = serde_json::json!({ "session": hex::encode(&message.session) }).to_string();
        let ask = Ask::new(Operation::Write, "sys/sessions/close".to_owned()).with_body(body);
        self.call(context, ask).await?;
        Ok(Response::new(SessionCloseResponse {}))
    }
}

#[derive(Deserialize)]
struct Opened {
    session: String,
    ttl_ms: u64,
}

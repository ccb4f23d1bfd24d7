//! `Logical`: everything that HTTP can do.

use conclave_core as core;
use conclave_proto::v1::logical_server::Logical;
use conclave_proto::v1::{LogicalRequest, LogicalResponse, Operation};
use tonic::{Request, Response, Status, async_trait};

use super::Handlers;
use super::context::{Ask, open};
use crate::refusal::Refusal;

#[async_trait]
impl Logical for Handlers {
    async fn call(
        &self,
        request: Request<LogicalRequest>,
    ) -> Result<Response<LogicalResponse>, Status> {
        let (context, message) = open(request)?;
        let ask = Ask {
            operation: operation(message.operation())?,
            path: message.path,
            body: message.body,
            query: message.query.into_iter().collect(),
            request_id: message.request_id,
            read_level: message.read_level,
        };
        let answered = self.call(context.in_namespace(message.namespace), ask).await?;
        Ok(Response::new(LogicalResponse {
            data: answered.response.data.unwrap_or_default(),
            warnings: answered.response.warnings,
            request_id: answered.id,
            revision: answered.response.revision,
            auth: answered.response.auth.unwrap_or_default(),
            lease_duration_s: answered.response.lease_duration_s,
        }))
    }
}

fn operation(operation: Operation) -> Result<core::Operation, Refusal> {
    match operation {
        Operation::Unspecified => Err(Refusal::invalid("the operation is missing; name one")),
        Operation::Read => Ok(core::Operation::Read),
        Operation::Write => Ok(core::Operation::Write),
        Operation::List => Ok(core::Operation::List),
        Operation::Delete => Ok(core::Operation::Delete),
        Operation::Patch => Ok(core::Operation::Patch),
        Operation::Scan => Ok(core::Operation::Scan),
    }
}

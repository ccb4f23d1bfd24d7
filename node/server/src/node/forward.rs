//! A client request and its answer as they cross from the asked node to the leader.

use std::time::Duration;

use conclave_core::{
    Error, ErrorCode, Idempotency, Operation, ReadLevel, Request, Response, Token,
};
use conclave_gateway::{from_wire_code, wire_code};
use conclave_proto::v1;

/// The whole request, before audit.
pub(super) fn into_forward_request(from: u64, request: &Request) -> v1::ForwardRequest {
    v1::ForwardRequest {
        from,
        operation: request.operation as u32,
        path: request.path.clone(),
        namespace: request.namespace.clone(),
        token: request
            .token
            .as_ref()
            .map(|token| token.expose().as_bytes().to_vec().into())
            .unwrap_or_default(),
        body: request.body.clone(),
        query: request.query.clone().into_iter().collect(),
        client_addr: request.client.map(|addr| addr.to_string()).unwrap_or_default(),
        request_id: request.id.clone(),
        idempotency: request.idempotency.as_ref().map(|tag| v1::RequestTag {
            session: tag.session.clone(),
            sequence: tag.sequence,
            low_water: tag.low_water,
        }),
        deadline_ms: u64::try_from(request.time_limit.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The request as the leader serves it.
///
/// # Errors
/// `InvalidRequest` for an operation this version does not know.
pub(super) fn from_forward_request(message: v1::ForwardRequest) -> Result<Request, Error> {
    let operation = Operation::from_wire(message.operation)
        .ok_or_else(|| Error::invalid("unknown operation; upgrade this node"))?;
    let token = match message.token.as_ref() {
        b"" => None,
        bytes => {
            let text = String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::new(ErrorCode::PermissionDenied, "permission denied"))?;
            Some(Token::new(text))
        }
    };
    Ok(Request {
        id: message.request_id,
        operation,
        path: message.path,
        namespace: message.namespace,
        token,
        body: message.body,
        query: message.query.into_iter().collect(),
        client: message.client_addr.parse().ok(),
        idempotency: message.idempotency.map(|tag| Idempotency {
            session: tag.session,
            sequence: tag.sequence,
            low_water: tag.low_water,
        }),
        read_level: ReadLevel::Linearizable,
        time_limit: Duration::from_millis(message.deadline_ms),
    })
}

/// What the leader answered.
pub(super) fn into_forward_reply(served: Result<Response, Error>) -> v1::ForwardReply {
    match served {
        Ok(response) => v1::ForwardReply {
            data: response.data,
            warnings: response.warnings,
            revision: response.revision,
            ..v1::ForwardReply::default()
        },
        Err(error) => {
            if let Some(detail) = &error.internal {
                tracing::error!(detail, "a forwarded request failed");
            }
            v1::ForwardReply {
                error_code: wire_code(error.code) as u32,
                error_message: error.message,
                data: error.data,
                ..v1::ForwardReply::default()
            }
        }
    }
}

/// The leader's answer as the caller's.
pub(super) fn from_forward_reply(reply: v1::ForwardReply) -> Result<Response, Error> {
    if reply.error_code == 0 {
        return Ok(Response {
            data: reply.data,
            warnings: reply.warnings,
            revision: reply.revision,
        });
    }
    let code = conclave_proto::ErrorCode::from_wire(reply.error_code)
        .map_or(ErrorCode::Internal, from_wire_code);
    let mut error = Error::new(code, reply.error_message);
    error.data = reply.data;
    Err(error)
}

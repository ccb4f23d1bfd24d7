//! Every route that the core serves.

use bytes::Bytes;
use conclave_core as core;
use conclave_core::{CanonicalPath, Operation};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

use super::envelope::{self, Shape};
use super::{Answer, HttpDoor, ceremony, head, json_answer};
use crate::gateway::Peer;
use crate::inbound::Inbound;
use crate::refusal::Refusal;

impl HttpDoor {
    pub(super) async fn logical(
        &self,
        path: &str,
        request: Request<Inbound>,
        peer: Peer,
    ) -> Answer {
        let echo = request.headers().get(NAMESPACE).cloned();
        let shape = Shape::of(path, asks_for_help(&request));
        let id = self.caller.service.make_request_id();
        let response = self.call_core(path, &id, request, peer).await.map_err(named(&id))?;
        let mut answer = enveloped(&id, &response, shape);
        if path == TIDY && shape != Shape::Bare {
            // What was asked for goes on behind the answer.
            *answer.status_mut() = StatusCode::ACCEPTED;
        }
        if let Some(namespace) = echo.filter(|value| !value.is_empty()) {
            answer.headers_mut().insert(NAMESPACE, namespace);
        }
        Ok(answer)
    }

    /// Translates the request, reads its body where the operation has one, and calls the core.
    pub(super) async fn call_core(
        &self,
        path: &str,
        id: &str,
        request: Request<Inbound>,
        peer: Peer,
    ) -> Result<core::Response, Refusal> {
        let mut query = head::query(request.uri())?;
        let operation = if asks_for_help(&request) {
            query.insert("help".into(), "1".into());
            Operation::Read
        } else {
            head::operation(request.method(), &mut query)?
        };
        CanonicalPath::new(path, operation)?;
        let headers = request.headers();
        head::refuse_wrapping(headers)?;
        if operation == Operation::Patch {
            head::require_merge_patch(headers)?;
        }
        let token = head::token(headers)?;
        let namespace = head::namespace(headers)?.to_owned();
        let read_level = head::read_level(headers)?;
        let idempotency = head::idempotency(headers, operation)?;
        let audited = head::audited(headers, self.caller.service.audited_headers());
        let takes_body = match operation {
            Operation::Write | Operation::Patch => true,
            // Its nonce says which attempt is to end.
            Operation::Delete => ceremony::is_of_keys(path),
            Operation::Read | Operation::List | Operation::Scan => false,
        };
        let (body, permit) = if takes_body {
            self.read_object(request).await?
        } else {
            // Read all the same, so that the connection can go on; it means nothing.
            let (_, permit) = self.read_body(request).await?;
            (Bytes::new(), permit)
        };
        let request = core::Request {
            id: id.to_owned(),
            operation,
            path: path.to_owned(),
            namespace,
            token,
            body,
            // Parameters mean nothing beside a body.
            query: if takes_body { head::Query::new() } else { query },
            client: Some(peer.address),
            headers: audited,
            forwarded_from: String::new(),
            idempotency,
            read_level,
            time_limit: self.caller.time_limit,
        };
        self.caller.call(request, permit).await
    }
}

/// Whether a request asks what its path is for, and not for what is there.
pub(super) fn asks_for_help(request: &Request<Inbound>) -> bool {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix("help="));
    match request.method().as_str() {
        "HELP" => true,
        "GET" => values.any(|value| !value.is_empty()),
        _ => false,
    }
}

/// Gives a refusal the id of its request.
pub(super) fn named(id: &str) -> impl FnOnce(Refusal) -> Refusal {
    let request_id = id.to_owned();
    move |refusal| Refusal { request_id, ..refusal }
}

pub(super) fn enveloped(id: &str, response: &core::Response, shape: Shape) -> Response<Bytes> {
    let is_empty =
        response.data.is_none() && response.auth.is_none() && response.warnings.is_empty();
    let mut answer = if is_empty {
        json_answer(StatusCode::NO_CONTENT, Bytes::new())
    } else {
        let body = envelope::success(id, response, shape);
        json_answer(StatusCode::OK, body)
    };
    if response.revision > 0 {
        let revision = HeaderValue::from(response.revision);
        answer.headers_mut().insert(REVISION, revision.clone());
        answer.headers_mut().insert(INDEX, revision);
    }
    answer
}

const TIDY: &str = "auth/token/tidy";
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const REVISION: HeaderName = HeaderName::from_static("x-conclave-revision");
const INDEX: HeaderName = HeaderName::from_static("x-vault-index");

//! `sys/storage/raft/snapshot`: backups out and in. Their bytes stream and are no JSON.

use bytes::Bytes;
use conclave_core as core;
use conclave_core::Operation;
use conclave_proto::ErrorCode;
use futures::StreamExt;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, StreamBody};
use hyper::body::{Body as _, Frame};
use tonic::body::Body;

use super::envelope::Shape;
use super::logical::{enveloped, named};
use super::{HttpDoor, head};
use crate::backup::too_large;
use crate::gateway::{AnswerBody, Peer, whole};
use crate::inbound::Inbound;
use crate::refusal::Refusal;

type Streamed = Result<Response<AnswerBody>, Refusal>;

/// Whether `path` is one of these routes, and then whether it forces.
pub(super) fn route(path: &str) -> Option<bool> {
    match path {
        "sys/storage/raft/snapshot" => Some(false),
        "sys/storage/raft/snapshot-force" => Some(true),
        _ => None,
    }
}

impl HttpDoor {
    pub(super) async fn snapshot(
        &self,
        path: &str,
        force: bool,
        request: Request<Inbound>,
        peer: Peer,
    ) -> Streamed {
        let mut query = head::query(request.uri())?;
        let operation = head::operation(request.method(), &mut query)?;
        head::refuse_idempotency(request.method(), request.headers())?;
        let id = self.caller.service.make_request_id();
        let asked = self.streaming_request(&id, operation, path, request.headers(), peer)?;
        let answer = match operation {
            Operation::Read if !force => self.save(asked, request).await,
            Operation::Write => self.restore(asked, force, request).await,
            _ => Err(Refusal::unsupported()),
        };
        answer.map_err(named(&id))
    }

    fn streaming_request(
        &self,
        id: &str,
        operation: Operation,
        path: &str,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<core::Request, Refusal> {
        head::refuse_wrapping(headers)?;
        head::require_identity_encoding(headers)?;
        Ok(core::Request {
            id: id.to_owned(),
            operation,
            path: path.to_owned(),
            namespace: head::namespace(headers)?.to_owned(),
            token: head::token(headers)?,
            body: Bytes::new(),
            query: head::Query::new(),
            client: Some(peer.address),
            headers: head::audited(headers, self.caller.service.audited_headers()),
            forwarded_from: String::new(),
            idempotency: None,
            read_level: head::read_level(headers)?,
            time_limit: self.caller.time_limit,
        })
    }

    async fn save(&self, asked: core::Request, request: Request<Inbound>) -> Streamed {
        let (_, permit) = self.read_body(request).await?;
        let bytes = self.caller.save(asked, permit).await?;
        let body = Body::new(StreamBody::new(bytes.map(|part| part.map(Frame::data))));
        let mut answer = Response::new(Either::Right(body));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(DISPOSITION));
        Ok(answer)
    }

    /// Data of the answer is for gRPC; here the status says it.
    async fn restore(
        &self,
        asked: core::Request,
        force: bool,
        request: Request<Inbound>,
    ) -> Streamed {
        let permit = self.admission.admit()?;
        let body = request.into_body();
        let bytes_max = self.caller.backup_bytes_max();
        if body.size_hint().lower() > bytes_max {
            return Err(Refusal::new(ErrorCode::TooLarge, too_large(bytes_max).to_string()));
        }
        let parts = body.into_data_stream().map(|part| part.map_err(std::io::Error::other)).boxed();
        let response = self.caller.restore(asked, force, parts, permit.into()).await?;
        let mut answer =
            enveloped("", &core::Response { data: None, ..response }, Shape::Enveloped);
        *answer.status_mut() = StatusCode::NO_CONTENT;
        Ok(answer.map(|_| whole(Bytes::new())))
    }
}

const DISPOSITION: &str = "attachment; filename=\"conclave-snapshot.tar.gz\"";

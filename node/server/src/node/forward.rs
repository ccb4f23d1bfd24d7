//! A client request and its answer as they cross from the asked node to the leader: whole, and
//! sealed, so that nobody who reads inside TLS reads a client's token or value.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use conclave_barrier::{EnvelopeError, EnvelopeId, PeerSealer, Route};
use conclave_core::{
    Error, ErrorCode, Idempotency, Operation, ReadLevel, Request, Response, Token,
};
use conclave_gateway::{from_wire_code, wire_code};
use conclave_proto::v1;
use conclave_proto::v1::forwarded_request::ReadLevel as WireReadLevel;
use prost::Message as _;
use zeroize::Zeroizing;

use crate::peer::MESSAGE_BYTES_MAX;

/// Seals the whole request for the leader.
///
/// # Errors
/// `TooLarge` for what no message may carry; `Internal` where this node has to be restarted. Nothing
/// was sent.
pub(super) fn seal_request(
    sealer: &PeerSealer,
    route: Route,
    request: &Request,
) -> Result<(v1::ForwardRequest, EnvelopeId), Error> {
    let plaintext = Zeroizing::new(into_wire(request).encode_to_vec());
    if plaintext.len() > MESSAGE_BYTES_MAX - ENVELOPE_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::TooLarge,
            "the request is too large to be handed to the leader; send less at once",
        ));
    }
    let (sealed, id) = sealer
        .seal_request(route, &plaintext)
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok((v1::ForwardRequest { from: route.from, sealed }, id))
}

/// A request that a peer sealed, and what its reply must be bound to. The request itself may still
/// be one that this version does not understand.
///
/// # Errors
/// Where it does not open. Nothing may be executed.
pub(super) fn open_request(
    sealer: &PeerSealer,
    route: Route,
    sealed: &[u8],
) -> Result<(Result<Request, Error>, EnvelopeId), EnvelopeError> {
    let (plaintext, id) = sealer.open_request(route, sealed)?;
    let request = v1::ForwardedRequest::decode(plaintext.as_slice())
        .map_err(|_| Error::invalid("a forwarded request cannot be read; upgrade this node"))
        .and_then(from_wire);
    Ok((request, id))
}

/// Seals the answer to the request of this id.
///
/// # Errors
/// Where this node has to be restarted. The request was executed.
pub(super) fn seal_reply(
    sealer: &PeerSealer,
    route: Route,
    request: EnvelopeId,
    served: Result<Response, Error>,
) -> Result<v1::ForwardReply, EnvelopeError> {
    let plaintext = Zeroizing::new(into_wire_reply(served).encode_to_vec());
    sealer.seal_reply(route, request, &plaintext).map(|sealed| v1::ForwardReply { sealed })
}

/// The leader's answer as the caller's.
///
/// # Errors
/// What the leader answered; `OutcomeUnknown` where that cannot be read.
pub(super) fn open_reply(
    sealer: &PeerSealer,
    route: Route,
    request: EnvelopeId,
    reply: &v1::ForwardReply,
) -> Result<Response, Error> {
    let plaintext = sealer
        .open_reply(route, request, &reply.sealed)
        .inspect_err(|error| tracing::warn!(%error, "the leader's answer was dropped"))
        .map_err(|_| outcome_unknown())?;
    let reply = v1::ForwardedReply::decode(plaintext.as_slice()).map_err(|_| outcome_unknown())?;
    from_wire_reply(reply)
}

/// What is said where the leader may have executed a request.
pub(super) fn outcome_unknown() -> Error {
    Error::new(
        ErrorCode::OutcomeUnknown,
        "the leader did not answer: the request may or may not have been executed; read before you repeat it",
    )
}

/// The whole request, before audit.
fn into_wire(request: &Request) -> v1::ForwardedRequest {
    v1::ForwardedRequest {
        operation: request.operation as u32,
        path: request.path.clone(),
        namespace: request.namespace.clone(),
        token: request
            .token
            .as_ref()
            .map(|token| Bytes::copy_from_slice(token.expose().as_bytes()))
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
        read_level: match request.read_level {
            ReadLevel::Linearizable => None,
            ReadLevel::AtRevision(revision) => Some(WireReadLevel::AtRevision(revision)),
            ReadLevel::Stale => Some(WireReadLevel::Stale(true)),
        },
        headers: into_wire_headers(&request.headers),
    }
}

/// The request as the leader serves it.
///
/// # Errors
/// `InvalidRequest` for an operation this version does not know.
fn from_wire(message: v1::ForwardedRequest) -> Result<Request, Error> {
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
        headers: from_wire_headers(message.headers),
        forwarded_from: String::new(),
        idempotency: message.idempotency.map(|tag| Idempotency {
            session: tag.session,
            sequence: tag.sequence,
            low_water: tag.low_water,
        }),
        read_level: match message.read_level {
            Some(WireReadLevel::AtRevision(revision)) => ReadLevel::AtRevision(revision),
            Some(WireReadLevel::Stale(true)) => ReadLevel::Stale,
            Some(WireReadLevel::Stale(false)) | None => ReadLevel::Linearizable,
        },
        time_limit: Duration::from_millis(message.deadline_ms),
    })
}

fn into_wire_headers(headers: &BTreeMap<String, Vec<String>>) -> Vec<v1::ForwardedHeader> {
    let pairs = headers.iter().flat_map(|(name, values)| {
        values.iter().map(|value| v1::ForwardedHeader { name: name.clone(), value: value.clone() })
    });
    pairs.collect()
}

fn from_wire_headers(pairs: Vec<v1::ForwardedHeader>) -> BTreeMap<String, Vec<String>> {
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for v1::ForwardedHeader { name, value } in pairs {
        headers.entry(name).or_default().push(value);
    }
    headers
}

/// What the leader answered.
fn into_wire_reply(served: Result<Response, Error>) -> v1::ForwardedReply {
    match served {
        Ok(response) => v1::ForwardedReply {
            data: response.data,
            warnings: response.warnings,
            revision: response.revision,
            auth: response.auth,
            lease_duration_s: response.lease_duration_s,
            ..v1::ForwardedReply::default()
        },
        Err(error) => {
            if let Some(detail) = &error.internal {
                tracing::error!(detail, "a forwarded request failed");
            }
            v1::ForwardedReply {
                error_code: wire_code(error.code) as u32,
                error_message: error.message,
                data: error.data,
                ..v1::ForwardedReply::default()
            }
        }
    }
}

/// The leader's answer as the caller's.
fn from_wire_reply(reply: v1::ForwardedReply) -> Result<Response, Error> {
    if reply.error_code == 0 {
        return Ok(Response {
            data: reply.data,
            warnings: reply.warnings,
            auth: reply.auth,
            lease_duration_s: reply.lease_duration_s,
            revision: reply.revision,
        });
    }
    let code = conclave_proto::ErrorCode::from_wire(reply.error_code)
        .map_or(ErrorCode::Internal, from_wire_code);
    let mut error = Error::new(code, reply.error_message);
    error.data = reply.data;
    Err(error)
}

/// What sealing and the message around it add, generously.
const ENVELOPE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests;

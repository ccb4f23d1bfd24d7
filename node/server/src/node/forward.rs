//! A client request and its answer as they cross from the asked node to the leader: whole, and
//! sealed, so that nobody who reads inside TLS reads a client's token or value.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use conclave_barrier::{EnvelopeError, EnvelopeId, PeerSealer, Route};
use conclave_core::audit::Head;
use conclave_core::{
    AuditHead, Error, ErrorCode, Idempotency, IdempotencyKey, Operation, ReadLevel, Request,
    RequestNumber, Response, Token,
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

/// Seals where this node's audit logs are, for the leader.
///
/// # Errors
/// As for a request. Nothing was sent.
pub(super) fn seal_heads(
    sealer: &PeerSealer,
    route: Route,
    heads: &[AuditHead],
) -> Result<(v1::ForwardRequest, EnvelopeId), Error> {
    let heads = heads.iter().map(|known| v1::AuditHead {
        device_id: known.device.to_vec().into(),
        path: known.path.clone(),
        seq: known.head.seq,
        hash: known.head.hash.to_vec().into(),
    });
    let heads = v1::AuditHeads { heads: heads.collect() };
    let message = v1::ForwardedRequest { audit_heads: Some(heads), ..Default::default() };
    let sealed = sealer.seal_request(route, &message.encode_to_vec());
    let (sealed, id) = sealed.map_err(|error| Error::internal(error.to_string()))?;
    Ok((v1::ForwardRequest { from: route.from, sealed }, id))
}

/// What a member hands to the leader.
pub(super) enum Forwarded {
    /// A client's request.
    Request(Box<Request>),
    /// Where the member's own audit logs are.
    AuditHeads(Vec<AuditHead>),
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
    let (forwarded, id) = open_forwarded(sealer, route, sealed)?;
    let request = forwarded.and_then(|forwarded| match forwarded {
        Forwarded::Request(request) => Ok(*request),
        Forwarded::AuditHeads(_) => Err(unreadable()),
    });
    Ok((request, id))
}

/// The same of whatever a member may send.
///
/// # Errors
/// Where it does not open. Nothing may be executed.
pub(super) fn open_forwarded(
    sealer: &PeerSealer,
    route: Route,
    sealed: &[u8],
) -> Result<(Result<Forwarded, Error>, EnvelopeId), EnvelopeError> {
    let (plaintext, id) = sealer.open_request(route, sealed)?;
    let forwarded = v1::ForwardedRequest::decode(plaintext.as_slice())
        .map_err(|_| unreadable())
        .and_then(|mut message| match message.audit_heads.take() {
            Some(heads) => from_wire_heads(heads).map(Forwarded::AuditHeads),
            None => from_wire(message).map(|request| Forwarded::Request(Box::new(request))),
        });
    Ok((forwarded, id))
}

fn from_wire_heads(message: v1::AuditHeads) -> Result<Vec<AuditHead>, Error> {
    let heads = message.heads.into_iter().map(|head| {
        let device = head.device_id.as_ref().try_into().map_err(|_| unreadable())?;
        let hash = head.hash.as_ref().try_into().map_err(|_| unreadable())?;
        Ok(AuditHead { device, path: head.path, head: Head { seq: head.seq, hash } })
    });
    heads.collect()
}

fn unreadable() -> Error {
    Error::invalid("a forwarded request cannot be read; upgrade this node")
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
        idempotency: request.idempotency.as_ref().map(into_wire_tag),
        deadline_ms: u64::try_from(request.time_limit.as_millis()).unwrap_or(u64::MAX),
        read_level: match request.read_level {
            ReadLevel::Linearizable => None,
            ReadLevel::AtRevision(revision) => Some(WireReadLevel::AtRevision(revision)),
            ReadLevel::Stale => Some(WireReadLevel::Stale(true)),
        },
        headers: into_wire_headers(&request.headers),
        audit_heads: None,
        idempotency_key: match &request.idempotency {
            Some(Idempotency::Keyed(key)) => key.as_str().to_owned(),
            Some(Idempotency::Numbered(_)) | None => String::new(),
        },
    }
}

fn into_wire_tag(idempotency: &Idempotency) -> v1::RequestTag {
    match idempotency {
        Idempotency::Numbered(RequestNumber { session, sequence, low_water }) => {
            v1::RequestTag { session: session.clone(), sequence: *sequence, low_water: *low_water }
        }
        Idempotency::Keyed(_) => v1::RequestTag::default(),
    }
}

fn from_wire_idempotency(
    tag: Option<v1::RequestTag>,
    key: &str,
) -> Result<Option<Idempotency>, Error> {
    if !key.is_empty() {
        return IdempotencyKey::new(key).map(|key| Some(Idempotency::Keyed(key)));
    }
    let number = tag.map(|v1::RequestTag { session, sequence, low_water }| RequestNumber {
        session,
        sequence,
        low_water,
    });
    Ok(number.map(Idempotency::Numbered))
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
        idempotency: from_wire_idempotency(message.idempotency, &message.idempotency_key)?,
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

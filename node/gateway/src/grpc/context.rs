//! What a call's metadata says, and how a call becomes a core request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use conclave_core as core;
use conclave_core::{
    CanonicalPath, Idempotency, Operation, ReadLevel, RequestNumber, Standing, Token,
};
use conclave_proto::v1;
use http::HeaderMap;
use serde::Deserialize;
use tonic::Status;

use super::{Arrival, Handlers};
use crate::admission::Permit;
use crate::http::head;
use crate::refusal::Refusal;
use crate::{json, pace};

/// Who calls, taken from metadata and connection.
pub(super) struct Context {
    token: Option<Token>,
    namespace: String,
    client: Option<IpAddr>,
    headers: HeaderMap,
    time_limit: Option<Duration>,
    standing: Arc<OnceLock<Standing>>,
    pub(super) permit: Arc<Permit>,
}

/// What is asked for, in the words of the core.
pub(super) struct Ask {
    pub(super) operation: Operation,
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) query: BTreeMap<String, String>,
    pub(super) request_id: Option<v1::RequestTag>,
    pub(super) read_level: Option<v1::ReadLevel>,
}

impl Ask {
    pub(super) fn new(operation: Operation, path: String) -> Self {
        Self {
            operation,
            path,
            body: Bytes::new(),
            query: BTreeMap::new(),
            request_id: None,
            read_level: None,
        }
    }

    /// The same with a JSON body that this crate wrote.
    pub(super) fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// What the core answered, with the id under which it was asked.
pub(super) struct Answered {
    pub(super) id: String,
    pub(super) response: core::Response,
}

impl Answered {
    /// The answer's data as `T`, which may borrow from it.
    pub(super) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Refusal> {
        parse_data(self.response.data.as_ref())
    }
}

/// An answer's data as `T`. The core wrote it: what does not fit is a fault of ours.
pub(super) fn parse_data<'a, T: Deserialize<'a>>(data: Option<&'a Bytes>) -> Result<T, Refusal> {
    let data: &[u8] = data.map_or(b"{}", |data| data.as_ref());
    serde_json::from_slice(data)
        .map_err(|_| Refusal::internal("the core's answer lacks a field that gRPC carries"))
}

/// Splits a call into who asks and what they ask.
pub(super) fn open<T>(request: tonic::Request<T>) -> Result<(Context, T), Status> {
    let (metadata, mut extensions, message) = request.into_parts();
    let arrival = extensions
        .remove::<Arrival>()
        .ok_or_else(|| Refusal::internal("a gRPC call did not come through the door"))?;
    let headers = metadata.into_headers();
    head::refuse_wrapping(&headers)?;
    let context = Context {
        token: head::token(&headers)?,
        namespace: head::namespace(&headers)?.to_owned(),
        client: Some(arrival.peer.address),
        time_limit: headers.get("grpc-timeout").and_then(|value| parse_timeout(value.as_bytes())),
        standing: arrival.standing,
        permit: arrival.permit,
        headers,
    };
    Ok((context, message))
}

impl Handlers {
    /// Serves `ask` through the core.
    pub(super) async fn call(&self, context: Context, ask: Ask) -> Result<Answered, Refusal> {
        let (request, permit) = self.request(context, ask)?;
        let id = request.id.clone();
        let response = self.caller.call(request, permit).await?;
        Ok(Answered { id, response })
    }

    /// The core request that `ask` makes.
    pub(super) fn request(
        &self,
        context: Context,
        ask: Ask,
    ) -> Result<(core::Request, Arc<Permit>), Refusal> {
        let mut standing = None;
        let paced = pace::check(&*self.caller.service, &ask.path, context.client, &mut standing);
        if let Some(standing) = standing {
            // One call is one request, so nothing stands here yet.
            let _ = context.standing.set(standing);
        }
        paced?;
        CanonicalPath::new(&ask.path, ask.operation)?;
        json::check_object(&ask.body, &self.caller.json)?;
        let limit = self.caller.time_limit;
        let request = core::Request {
            id: self.caller.service.make_request_id(),
            operation: ask.operation,
            path: ask.path,
            namespace: context.namespace,
            token: context.token,
            body: ask.body,
            query: ask.query,
            client: context.client,
            headers: head::audited(&context.headers, self.caller.service.audited_headers()),
            forwarded_from: String::new(),
            idempotency: ask.request_id.map(idempotency).transpose()?,
            read_level: ask
                .read_level
                .and_then(|level| level.kind)
                .map_or_else(ReadLevel::default, read_level),
            time_limit: context.time_limit.map_or(limit, |asked| asked.min(limit)),
        };
        Ok((request, context.permit))
    }
}

impl Context {
    /// The namespace that the message itself names goes before the metadata's.
    pub(super) fn in_namespace(mut self, namespace: String) -> Self {
        if !namespace.is_empty() {
            self.namespace = namespace;
        }
        self
    }
}

fn idempotency(tag: v1::RequestTag) -> Result<Idempotency, Refusal> {
    if tag.session.is_empty() {
        return Err(Refusal::invalid("the request id names no session; open one first"));
    }
    let v1::RequestTag { session, sequence, low_water } = tag;
    Ok(Idempotency::Numbered(RequestNumber { session, sequence, low_water }))
}

/// A flag that is set to false asks for nothing, which is the default.
fn read_level(kind: v1::read_level::Kind) -> ReadLevel {
    match kind {
        v1::read_level::Kind::AtRevision(revision) => ReadLevel::AtRevision(revision),
        v1::read_level::Kind::Stale(true) => ReadLevel::Stale,
        v1::read_level::Kind::Stale(false) | v1::read_level::Kind::Linearizable(_) => {
            ReadLevel::Linearizable
        }
    }
}

/// `grpc-timeout`: at most eight digits and a unit. What does not parse sets no limit.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_may_shorten_its_time() {
        assert_eq!(parse_timeout(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout(b"2S"), Some(Duration::from_secs(2)));
        for bad in [&b""[..], b"S", b"123456789S", b"-1S", b"5x"] {
            assert_eq!(parse_timeout(bad), None);
        }
    }
}

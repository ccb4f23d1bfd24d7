//! The HTTP door: the paths, envelope and status codes of the Vault API.

mod ceremony;
mod cors;
mod envelope;
pub(crate) mod head;
mod lenient;
mod logical;
mod snapshot;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use conclave_core::Standing;
use conclave_ports::Ports;
use conclave_proto::ErrorCode;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Body as _;

use cors::Origin;
use envelope::Shape;

use crate::admission::{Admission, Permit};
use crate::caller::Caller;
use crate::gateway::{AnswerBody, Peer, whole};
use crate::inbound::Inbound;
use crate::path::{self, PathFault};
use crate::refusal::Refusal;
use crate::{json, pace, telemetry};

/// Answers HTTP requests.
pub(crate) struct HttpDoor {
    caller: Caller,
    admission: Arc<Admission>,
    ports: Ports,
    unauthenticated_metrics: bool,
}

type Answer = Result<Response<Bytes>, Refusal>;

impl HttpDoor {
    pub(crate) fn new(
        caller: Caller,
        admission: Arc<Admission>,
        ports: Ports,
        unauthenticated_metrics: bool,
    ) -> Self {
        Self { caller, admission, ports, unauthenticated_metrics }
    }

    /// Answers one request.
    pub(crate) async fn serve(
        &self,
        request: Request<Inbound>,
        peer: Peer,
    ) -> Response<AnswerBody> {
        let began = self.ports.clock.monotonic();
        let method = head::method_label(request.method());
        let (mut route, mut standing) = ("none", None);
        let origin = Origin::of(&*self.caller.service, request.headers());
        let answer = self.answer(request, peer, &origin, &mut route, &mut standing).await;
        let mut response = match answer {
            Ok(response) => finish(response, peer),
            Err(refusal) => self.refuse(refusal, peer),
        };
        origin.mark(response.headers_mut());
        if let Some(standing) = standing {
            pace::mark(&standing, response.headers_mut());
        }
        let took = self.ports.clock.monotonic().saturating_sub(began);
        telemetry::record("http", method, route, response.status().as_u16(), took);
        response
    }

    /// The answer that is this refusal.
    pub(crate) fn refuse(&self, refusal: Refusal, peer: Peer) -> Response<AnswerBody> {
        let body = match &refusal.data {
            // A deleted KV version, or a hint: clients read the envelope before "not found".
            Some(data) if refusal.code == ErrorCode::NotFound => {
                let warning = Some(refusal.message.clone()).filter(|text| !text.is_empty());
                let shown = conclave_core::Response {
                    data: Some(data.clone()),
                    warnings: warning.into_iter().collect(),
                    ..conclave_core::Response::default()
                };
                envelope::success(&refusal.request_id, &shown, Shape::Enveloped)
            }
            data => envelope::errors(&refusal.message, data.as_ref()),
        };
        let mut response = Response::new(whole(body));
        *response.status_mut() = StatusCode::from_u16(refusal.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if refusal.is_momentary() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        finish(response, peer)
    }

    /// Paths first, because they are cheap to refuse; then the few routes that the node answers in
    /// every state; the rest is the core's.
    async fn answer(
        &self,
        request: Request<Inbound>,
        peer: Peer,
        origin: &Origin,
        route: &mut &'static str,
        standing: &mut Option<Standing>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let path = path::decode(request.uri().path())?;
        let Some(path) = path.strip_prefix("v1/") else { return Err(Refusal::not_found()) };
        *route = telemetry::route_template(path);
        if !DIRECT_ROUTES.contains(&path) || path == "sys/metrics" {
            pace::check(&*self.caller.service, path, Some(peer.address), standing)?;
        }
        if let Some(answer) = origin.admit(&*self.caller.service, &request)? {
            return Ok(answer.map(whole));
        }
        if logical::asks_for_help(&request) {
            return self.logical(path, request, peer).await.map(|answer| answer.map(whole));
        }
        if let Some(force) = snapshot::route(path) {
            return self.snapshot(path, force, request, peer).await;
        }
        if ceremony::is_of_keys(path) {
            let answer = self.key_ceremony(path, request, peer).await?;
            return Ok(answer.map(whole));
        }
        if !DIRECT_ROUTES.contains(&path) {
            return self.logical(path, request, peer).await.map(|answer| answer.map(whole));
        }
        head::require_root_namespace(request.headers())?;
        head::refuse_idempotency(request.method(), request.headers())?;
        let answer = match path {
            "sys/health" => self.health(&request),
            "sys/seal-status" => self.seal_status(&request),
            "sys/leader" => self.leader(&request),
            "sys/init" => self.init(request).await,
            "sys/unseal" => self.unseal(request).await,
            "sys/storage/raft/join" => self.join(request).await,
            _ => self.metrics(request, peer).await,
        };
        answer.map(|answer| answer.map(whole))
    }

    /// The body, with the request's share of the budgets.
    async fn read_body(&self, request: Request<Inbound>) -> Result<(Bytes, Arc<Permit>), Refusal> {
        head::require_identity_encoding(request.headers())?;
        let mut permit = self.admission.admit()?;
        let body = self.admission.read_body(request.into_body(), &mut permit).await?;
        Ok((body, Arc::new(permit)))
    }

    /// The body as a checked JSON object, or empty, with the request's share of the budgets.
    async fn read_object(
        &self,
        request: Request<Inbound>,
    ) -> Result<(Bytes, Arc<Permit>), Refusal> {
        let (body, permit) = self.read_body(request).await?;
        json::check_object(&body, &self.caller.json)?;
        Ok((if body.trim_ascii().is_empty() { Bytes::new() } else { body }, permit))
    }
}

/// Answered by the node itself, mostly without a token and outside the envelope.
const DIRECT_ROUTES: [&str; 7] = [
    "sys/health",
    "sys/seal-status",
    "sys/leader",
    "sys/init",
    "sys/unseal",
    "sys/storage/raft/join",
    "sys/metrics",
];

impl From<PathFault> for Refusal {
    fn from(fault: PathFault) -> Self {
        Self::invalid(fault.to_string())
    }
}

/// An answer with a JSON body.
fn json_answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}

/// Whether a request's method is one of these, or a refusal.
fn require_method(method: &Method, allowed: &[Method]) -> Result<(), Refusal> {
    if allowed.contains(method) { Ok(()) } else { Err(Refusal::unsupported()) }
}

/// The headers that every answer carries: nothing is cached, sniffed, or asked for in clear again.
fn finish(mut response: Response<AnswerBody>, peer: Peer) -> Response<AnswerBody> {
    let has_body = response.body().size_hint().exact() != Some(0);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if has_body && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if peer.tls {
        let year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    response
}

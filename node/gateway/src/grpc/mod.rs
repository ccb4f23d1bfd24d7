//! The gRPC door: the services of `client.proto`, each call translated into the same core request
//! that HTTP would make of it.

mod context;
mod kv;
mod logical;
mod operator;
mod session;
mod snapshot;

use std::sync::{Arc, OnceLock};

use conclave_core::Standing;
use conclave_ports::Ports;
use conclave_proto::v1::kv_server::KvServer;
use conclave_proto::v1::logical_server::LogicalServer;
use conclave_proto::v1::operator_server::OperatorServer;
use conclave_proto::v1::session_server::SessionServer;
use http::{Request, Response};
use http_body_util::Full;
use tonic::body::Body;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service as _;

use crate::admission::{Admission, Permit};
use crate::caller::Caller;
use crate::gateway::Peer;
use crate::inbound::Inbound;
use crate::refusal::Refusal;
use crate::{pace, telemetry};

/// Answers gRPC requests.
pub(crate) struct GrpcDoor {
    routes: Routes,
    admission: Arc<Admission>,
    ports: Ports,
}

/// What the services share.
#[derive(Clone)]
struct Handlers {
    caller: Caller,
}

/// What the door knows of a request that its message does not say.
#[derive(Clone)]
struct Arrival {
    peer: Peer,
    permit: Arc<Permit>,
    /// Where its caller stands with a rate quota, once that was asked.
    standing: Arc<OnceLock<Standing>>,
}

impl GrpcDoor {
    pub(crate) fn new(caller: Caller, admission: Arc<Admission>, ports: Ports) -> Self {
        let handlers = Handlers { caller };
        let limit = MESSAGE_BYTES_MAX;
        let routes =
            Routes::new(LogicalServer::new(handlers.clone()).max_decoding_message_size(limit))
                .add_service(KvServer::new(handlers.clone()).max_decoding_message_size(limit))
                .add_service(SessionServer::new(handlers.clone()).max_decoding_message_size(limit))
                .add_service(OperatorServer::new(handlers).max_decoding_message_size(limit))
                .prepare();
        Self { routes, admission, ports }
    }

    /// Answers one request.
    pub(crate) async fn serve(&self, request: Request<Inbound>, peer: Peer) -> Response<Body> {
        let began = self.ports.clock.monotonic();
        let (method, route) = labels(request.uri().path());
        let standing = Arc::default();
        let mut response = match self.answer(request, peer, &standing).await {
            Ok(response) => response,
            Err(refusal) => self.refuse(refusal),
        };
        if let Some(standing) = standing.get() {
            pace::mark(standing, response.headers_mut());
        }
        let took = self.ports.clock.monotonic().saturating_sub(began);
        telemetry::record("grpc", method, route, grpc_status(&response), took);
        response
    }

    /// The answer that is this refusal.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Response<Body> {
        status_of(refusal).into_http()
    }

    /// Reads the message whole, as every call's request is one, so that both doors keep one budget;
    /// but a backup streams.
    async fn answer(
        &self,
        request: Request<Inbound>,
        peer: Peer,
        standing: &Arc<OnceLock<Standing>>,
    ) -> Result<Response<Body>, Refusal> {
        let (parts, body) = request.into_parts();
        let mut permit = self.admission.admit()?;
        let body = if parts.uri.path() == RESTORE {
            Body::new(body)
        } else {
            Body::new(Full::new(self.admission.read_body(body, &mut permit).await?))
        };
        let mut request = Request::from_parts(parts, body);
        let (permit, standing) = (Arc::new(permit), Arc::clone(standing));
        request.extensions_mut().insert(Arrival { peer, permit, standing });
        match self.routes.clone().call(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}

/// A refusal as a gRPC status; its metadata carries what the status is too coarse for: the code, the
/// data, and when to come back.
fn status_of(refusal: Refusal) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(ERROR_CODE_KEY, MetadataValue::from(refusal.code as u32));
    if refusal.is_momentary() {
        metadata.insert(RETRY_AFTER_KEY, MetadataValue::from_static("1"));
    }
    if let Some(data) = refusal.data.filter(|data| data.len() <= ERROR_DATA_BYTES_MAX) {
        metadata.insert_bin(ERROR_DATA_KEY, MetadataValue::from_bytes(&data));
    }
    let message =
        if refusal.message.is_empty() { "nothing is there".to_owned() } else { refusal.message };
    Status::with_metadata(refusal.code.grpc_code(), message, metadata)
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        status_of(refusal)
    }
}

/// The status of an answer; one that succeeds says so only in its trailers.
fn grpc_status(response: &Response<Body>) -> u16 {
    Status::from_header_map(response.headers())
        .map_or(Code::Ok as u16, |status| status.code() as u16)
}

/// Method and route of a call as fixed words.
fn labels(path: &str) -> (&'static str, &'static str) {
    CALLS
        .into_iter()
        .find(|(method, service)| {
            path.strip_prefix("/conclave.v1.")
                .and_then(|rest| rest.strip_prefix(service))
                .and_then(|rest| rest.strip_prefix('/'))
                == Some(*method)
        })
        .unwrap_or(("other", "other"))
}

const CALLS: [(&str, &str); 20] = [
    ("Call", "Logical"),
    ("Put", "Kv"),
    ("Get", "Kv"),
    ("List", "Kv"),
    ("Delete", "Kv"),
    ("Open", "Session"),
    ("Close", "Session"),
    ("Status", "Operator"),
    ("Init", "Operator"),
    ("Unseal", "Operator"),
    ("Seal", "Operator"),
    ("Members", "Operator"),
    ("CreateJoinToken", "Operator"),
    ("RemoveMember", "Operator"),
    ("StepDown", "Operator"),
    ("JoinCluster", "Operator"),
    ("PromoteMember", "Operator"),
    ("DemoteMember", "Operator"),
    ("SaveSnapshot", "Operator"),
    ("RestoreSnapshot", "Operator"),
];

/// The one call whose request is many messages.
const RESTORE: &str = "/conclave.v1.Operator/RestoreSnapshot";

/// The metadata key under which an error's own code travels.
const ERROR_CODE_KEY: &str = "conclave-error";

/// The metadata key under which the JSON goes that HTTP answers beside an error: of a deleted version
/// its metadata, of a path that lacks a part the hint.
const ERROR_DATA_KEY: &str = "conclave-error-data-bin";

/// The most of it: clients take 16 KiB of headers in all, and metadata is longer by a third.
const ERROR_DATA_BYTES_MAX: usize = 8 << 10;

/// In seconds, as in HTTP.
const RETRY_AFTER_KEY: &str = "retry-after";

/// The longest message: the longest HTTP body, and room for the fields around it.
const MESSAGE_BYTES_MAX: usize = 33 << 20;

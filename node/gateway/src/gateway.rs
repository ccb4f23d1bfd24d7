//! One connection, from its first byte to its last: which protocol it speaks, and which door each
//! of its requests goes to.

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use conclave_ports::Ports;
use futures::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, Version};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::server::conn::auto::Builder;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::caller::Caller;
use crate::config::{HEAD_BYTES_MAX, HEADERS_MAX, Limits};
use crate::grpc::GrpcDoor;
use crate::http::HttpDoor;
use crate::inbound::{Discarder, Inbound};
use crate::refusal::Refusal;
use crate::runtime::{PortsExecutor, PortsTimer};
use crate::wire::{Signals, Wire};
use crate::{GatewayConfig, Service};

/// A body that either door answers with.
pub(crate) type AnswerBody = Either<Full<Bytes>, tonic::body::Body>;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) tls: bool,
}

/// Both doors of a node. Clones share everything.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    builder: Builder<PortsExecutor>,
    http: HttpDoor,
    grpc: GrpcDoor,
    discarder: Discarder,
    ports: Ports,
    limits: Limits,
    tls: bool,
}

impl Gateway {
    /// Opens the doors to `service`.
    pub fn new(service: Arc<dyn Service>, ports: Ports, config: GatewayConfig) -> Self {
        let limits = Limits::of(&config);
        Self::with_limits(service, ports, config, limits)
    }

    pub(crate) fn with_limits(
        service: Arc<dyn Service>,
        ports: Ports,
        config: GatewayConfig,
        limits: Limits,
    ) -> Self {
        let admission = Arc::new(Admission::new(&config, &limits, ports.clone()));
        let caller = Caller::new(service, ports.clone(), &config, &limits);
        let inner = Inner {
            builder: connection_builder(&ports, &limits),
            http: HttpDoor::new(
                caller.clone(),
                Arc::clone(&admission),
                ports.clone(),
                config.unauthenticated_metrics,
            ),
            grpc: GrpcDoor::new(caller, admission, ports.clone()),
            discarder: Discarder::new(ports.clone()),
            ports,
            limits,
            tls: config.tls,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Serves one accepted (and, with TLS, decrypted) connection until it ends. When `shutdown`
    /// turns true, or its sender is gone, the connection takes no further request, answers those it
    /// has and ends. Whatever the peer sends, this returns and nothing else suffers.
    pub async fn serve_connection<I>(
        &self,
        io: I,
        address: IpAddr,
        mut shutdown: watch::Receiver<bool>,
    ) where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let peer = Peer { address, tls: self.inner.tls };
        let asked = Arc::new(AtomicBool::new(false));
        let inner = Arc::clone(&self.inner);
        let signals = Signals::new();
        let io = Wire::new(io, signals.clone(), inner.ports.clone(), inner.limits.head_time);
        let service = service_fn({
            let asked = Arc::clone(&asked);
            move |request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let is_http_2 = request.version() == Version::HTTP_2;
                let (inner, signals) = (Arc::clone(&inner), Arc::clone(&signals));
                let request = inner.discarder.watch(request);
                async move {
                    let answer = if signals.is_ambiguous() {
                        inner.refuse_ambiguous(peer)
                    } else {
                        inner.serve(request, peer).await
                    };
                    if !is_http_2 {
                        signals.expect_head();
                    }
                    Ok::<_, Infallible>(answer)
                }
            }
        });
        let mut connection = pin!(self.inner.builder.serve_connection(io, service));
        // hyper's own limit on a head begins once it knows the protocol; this one begins now.
        let mut first_head = self.inner.ports.clock.sleep(self.inner.limits.head_time).fuse();
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                outcome = connection.as_mut() => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "a connection ended with an error");
                    }
                    return;
                }
                _ = shutdown.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut first_head => {
                    if !asked.load(Ordering::Relaxed) {
                        tracing::debug!("a connection sent no request in time");
                        return;
                    }
                }
            }
        }
    }
}

impl Inner {
    /// The answer to a message that somebody between the caller and here may have framed
    /// differently: what follows it on the connection cannot be trusted.
    fn refuse_ambiguous(&self, peer: Peer) -> Response<AnswerBody> {
        let refusal = Refusal::invalid(
            "the head has two lengths, or a line that ends in a bare line feed; send one length",
        );
        let mut answer = self.http.refuse(refusal, peer);
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        answer
    }

    /// Answers one request. A panic below becomes an answer as well, and the connection lives on.
    async fn serve(&self, request: Request<Inbound>, peer: Peer) -> Response<AnswerBody> {
        if is_grpc(&request) {
            let answer = AssertUnwindSafe(self.grpc.serve(request, peer)).catch_unwind().await;
            return answer
                .unwrap_or_else(|_| self.grpc.refuse(Refusal::internal("a gRPC handler panicked")))
                .map(Either::Right);
        }
        let is_bare = request.method() == Method::HEAD && request.version() == Version::HTTP_2;
        let answer = AssertUnwindSafe(self.http.serve(request, peer)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| {
            self.http.refuse(Refusal::internal("an HTTP handler panicked"), peer)
        });
        if is_bare { without_body(answer) } else { answer }
    }
}

/// The answer to HEAD: what GET would say of its body, without the body. Over HTTP/1 hyper does the
/// same; over HTTP/2 it sends what it is given, which the peer must take for a protocol error.
fn without_body(answer: Response<AnswerBody>) -> Response<AnswerBody> {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, whole(Bytes::new()))
}

/// A body that is there in full.
pub(crate) fn whole(body: Bytes) -> AnswerBody {
    Either::Left(Full::new(body))
}

/// gRPC needs HTTP/2; over HTTP/1 its content type means nothing.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content_type.and_then(|value| value.strip_prefix(b"application/grpc"));
    // `application/grpc-web` is another protocol.
    request.version() == Version::HTTP_2
        && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn connection_builder(ports: &Ports, limits: &Limits) -> Builder<PortsExecutor> {
    let timer = PortsTimer::new(ports.clone());
    let mut builder = Builder::new(PortsExecutor(ports.clone()));
    builder
        .http1()
        .timer(timer.clone())
        .header_read_timeout(limits.idle_time)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true);
    builder
        .http2()
        .timer(timer)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

/// How often a silent HTTP/2 connection is asked whether its peer is there.
const KEEP_ALIVE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(20);

/// How long the peer may take to say so.
const KEEP_ALIVE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

//! The HTTP door over HTTP/2, and what becomes of bodies that nobody wants.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use conclave_ports::Clock;
use futures::future::{BoxFuture, join_all};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::support::{Bench, TestClock, spawn};

/// A body that is sent in chunks, each some time after the one before.
struct Slow {
    chunk: Bytes,
    left: usize,
    pause: Duration,
    sleep: BoxFuture<'static, ()>,
    /// Chunks that the connection took.
    taken: Arc<AtomicUsize>,
}

impl Slow {
    fn new(chunk: usize, count: usize, pause_ms: u64) -> (Self, Arc<AtomicUsize>) {
        let (taken, pause) = (Arc::new(AtomicUsize::new(0)), Duration::from_millis(pause_ms));
        let (chunk, sleep) = (vec![b'x'; chunk].into(), TestClock::new().sleep(pause));
        (Self { chunk, left: count, pause, sleep, taken: Arc::clone(&taken) }, taken)
    }
}

impl Body for Slow {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.sleep.as_mut().poll(context));
        self.sleep = TestClock::new().sleep(self.pause);
        self.left -= 1;
        self.taken.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.chunk.len() * self.left) as u64)
    }
}

type Sender = http2::SendRequest<Slow>;

async fn connect(bench: &Bench) -> Sender {
    let io = TokioIo::new(bench.connect());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    spawn(Box::pin(async move {
        let _ = connection.await;
    }));
    sender
}

/// Sends a request and gives back its answer, received whole.
async fn ask(sender: &mut Sender, line: &str, headers: &str, body: Slow) -> Response<Bytes> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(format!("https://conclave{path}"));
    for header in headers.lines() {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test(start_paused = true)]
async fn head_says_what_get_says_without_its_body() {
    let bench = Bench::new();
    let mut sender = connect(&bench).await;
    for path in ["/v1/sys/health", "/v1/sys/health?activecode=204", "/v1/echo/a", "/nowhere"] {
        let head = ask(&mut sender, &format!("HEAD {path}"), "", Slow::new(0, 0, 0).0).await;
        assert!(head.body().is_empty(), "{path}");
        if path.starts_with("/v1/sys/health") {
            let get = ask(&mut sender, &format!("GET {path}"), "", Slow::new(0, 0, 0).0).await;
            assert_eq!((head.status(), head.headers()), (get.status(), get.headers()), "{path}");
        }
    }
    let get = ask(&mut sender, "GET /v1/sys/health", "", Slow::new(0, 0, 0).0).await;
    assert!(!get.body().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_is_read_to_its_end_so_that_the_stream_is_not_reset() {
    let bench = Bench::with(|config, _| config.request_bytes_max = 1000);
    let mut sender = connect(&bench).await;
    let twice = "x-vault-token: a\nx-vault-token: b";
    for (line, headers, expected) in [
        ("PUT /v1/echo/a", "", 413),
        ("PUT /v1/echo/a", "content-encoding: gzip", 415),
        ("PUT /v1/echo/a", twice, 400),
        ("PUT /v2/nowhere", "", 404),
        ("PUT /v1/sys/init", "x-vault-namespace: team", 400),
        ("DELETE /v1/sys/init", "", 405),
        ("DELETE /v1/echo/a", "", 413),
        ("GET /v1/sys/health", "", 200),
    ] {
        // More than the stream's window, so that it is the reading that lets the client go on.
        let (body, taken) = Slow::new(100_000, 20, 50);
        let answer = ask(&mut sender, line, headers, body).await;
        assert_eq!(answer.status(), expected, "{line} {headers}");
        assert!(answer.body().ends_with(b"}\n"), "{line} {headers}");
        TestClock::new().sleep(Duration::from_secs(4)).await;
        assert_eq!(taken.load(Ordering::SeqCst), 20, "{line} {headers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_read_to_its_end_as_well() {
    let bench = Bench::with(|config, _| config.request_bytes_max = 1000);
    let mut sender = connect(&bench).await;
    let (body, taken) = Slow::new(100_000, 20, 50);
    let call = "POST /conclave.v1.Logical/Call";
    let answer = ask(&mut sender, call, "content-type: application/grpc", body).await;
    assert!(answer.headers().contains_key("conclave-error"), "{answer:?}");
    TestClock::new().sleep(Duration::from_secs(4)).await;
    assert_eq!(taken.load(Ordering::SeqCst), 20);
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_is_not_read_for_ever_and_holds_no_budget() {
    let bench = Bench::with(|config, limits| {
        config.request_bytes_max = 1000;
        limits.requests_in_flight_max = 1;
    });
    let mut sender = connect(&bench).await;
    let (body, taken) = Slow::new(1000, 100, 1000);
    assert_eq!(ask(&mut sender, "PUT /v1/echo/a", "", body).await.status(), 413);
    let answer = ask(&mut sender, "GET /v1/echo/a", "", Slow::new(0, 0, 0).0).await;
    assert_eq!(answer.status(), 200, "the refused request still holds its permit");
    TestClock::new().sleep(Duration::from_secs(200)).await;
    let taken = taken.load(Ordering::SeqCst);
    assert!((3..10).contains(&taken), "{taken} chunks were read");
}

#[tokio::test(start_paused = true)]
async fn refused_bodies_above_the_bound_are_dropped_and_still_answered() {
    let bench = Bench::with(|config, _| config.request_bytes_max = 1000);
    let mut senders = Vec::new();
    for _ in 0..3 {
        senders.push(connect(&bench).await);
    }
    // Each connection asks 100 times at once, which together is above the bound.
    let asked = senders.iter().flat_map(|sender| (0..100).map(|_| sender.clone()));
    let (mut counts, mut answers) = (Vec::new(), Vec::new());
    for mut sender in asked {
        let (body, taken) = Slow::new(1000, 4, 1000);
        counts.push(taken);
        answers.push(async move { ask(&mut sender, "PUT /v2/nowhere", "", body).await.status() });
    }
    assert!(join_all(answers).await.iter().all(|status| *status == 404));
    TestClock::new().sleep(Duration::from_secs(20)).await;
    let whole = counts.iter().filter(|taken| taken.load(Ordering::SeqCst) == 4).count();
    assert_eq!(whole, 256);
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_is_not_read_beyond_its_bound() {
    let bench = Bench::with(|config, _| config.request_bytes_max = 1000);
    let mut sender = connect(&bench).await;
    let (body, taken) = Slow::new(1 << 20, 80, 0);
    assert_eq!(ask(&mut sender, "PUT /v1/echo/a", "", body).await.status(), 413);
    TestClock::new().sleep(Duration::from_secs(4)).await;
    let taken = taken.load(Ordering::SeqCst);
    assert!((64..70).contains(&taken), "{taken} MiB were read");
}

//! A fake service, test ports, raw HTTP conversations and golden files.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use conclave_core::{Error, ErrorCode, Idempotency, Operation, Request, Response, Standing};
use conclave_ports::{Clock, Ports, Rng, Spawn};
use std::future::ready;

use futures::future::BoxFuture;
use futures::stream;
use futures::{FutureExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::config::Limits;
use crate::{Gateway, GatewayConfig, InitRequest, InitResponse, JoinRequest, NodeStatus, Service};

/// Answers by path; `echo/…` answers with what it was asked.
pub(super) struct Fake {
    pub(super) status: Mutex<NodeStatus>,
    /// Calls that reached the service.
    pub(super) calls: AtomicUsize,
    /// Calls that ran to their end.
    pub(super) finished: AtomicUsize,
    /// Requests below `paced/`.
    pub(super) paced: AtomicUsize,
    /// Backups that are being read.
    pub(super) open_backups: Arc<AtomicUsize>,
    /// What init, unseal and join were asked, in words.
    pub(super) ceremonies: Mutex<Vec<String>>,
    /// The one that may call; none where there are no rules.
    pub(super) origin: Mutex<Option<&'static str>>,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        let status = NodeStatus {
            initialized: true,
            threshold: 3,
            shares: 5,
            seal_type: "shamir".into(),
            cluster_name: "conclave".into(),
            cluster_id: "c-1".into(),
            node_id: 1,
            node_name: "one".into(),
            leader_id: 1,
            leader_api_addr: "https://one:8200".into(),
            leader_cluster_addr: "one:8201".into(),
            term: 2,
            committed_index: 41,
            applied_index: 40,
            member_api_addrs: vec!["https://one:8200".into()],
            has_quorum: true,
            ..NodeStatus::default()
        };
        Arc::new(Self {
            status: Mutex::new(status),
            calls: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            paced: AtomicUsize::new(0),
            open_backups: Arc::default(),
            ceremonies: Mutex::new(Vec::new()),
            origin: Mutex::default(),
        })
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut NodeStatus)) {
        change(&mut self.status.lock().unwrap());
    }

    fn note(&self, text: String) {
        self.ceremonies.lock().unwrap().push(text);
    }
}

/// Counts a backup as open while it lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }

    /// Held by a closure, so that it lives as long as the stream.
    fn look(&self) {
        assert!(self.0.load(Ordering::SeqCst) > 0);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn endless(open: Open) -> crate::SnapshotBytes {
    let part = Bytes::from(vec![7; 64 << 10]);
    stream::repeat_with(move || {
        open.look();
        Ok(part.clone())
    })
    .boxed()
}

fn json(text: impl Into<String>) -> Result<Response, Error> {
    Ok(Response { data: Some(Bytes::from(text.into())), revision: 7, ..Response::default() })
}

fn echo(request: &Request) -> Result<Response, Error> {
    let mut told = serde_json::json!({
        "operation": request.operation.name(),
        "path": request.path,
        "namespace": request.namespace,
        "token": request.token.as_ref().map(|token| token.expose()),
        "body": String::from_utf8_lossy(&request.body),
        "query": request.query,
        "client": request.client.map(|ip| ip.to_string()),
        "sequence": match &request.idempotency {
            Some(Idempotency::Numbered(number)) => Some(number.sequence),
            _ => None,
        },
        "read_level": format!("{:?}", request.read_level),
        "time_limit_ms": u64::try_from(request.time_limit.as_millis()).unwrap(),
    });
    if let Some(Idempotency::Keyed(key)) = &request.idempotency {
        told["key"] = key.as_str().into();
    }
    json(told.to_string())
}

const METADATA: &str = r#"{"version":2,"created_time":"2026-11-25T00:00:00Z","deletion_time":"","destroyed":false,"custom_metadata":null}"#;
const DELETED: &str = r#"{"data":null,"metadata":{"version":3,"created_time":"2026-11-25T00:00:00Z","deletion_time":"2026-11-25T00:00:01Z","destroyed":false,"custom_metadata":null}}"#;

fn answer(request: &Request) -> Result<Response, Error> {
    let path = request.path.as_str();
    if path.starts_with("echo/") {
        return echo(request);
    }
    if path == "errors/large-data" {
        let data = format!("\"{}\"", "x".repeat(64 << 10));
        return Err(Error::not_found().with_data(data.into()));
    }
    if let Some(code) = path.strip_prefix("errors/") {
        return Err(error_named(code));
    }
    match (request.operation, path) {
        (Operation::Read, _) if request.query.contains_key("help") => {
            json(r#"{"help":"Helps.","see_also":null,"openapi":{}}"#)
        }
        (Operation::Read, "secret/data/app") => {
            json(format!(r#"{{"data":{{"a":"b"}},"metadata":{METADATA}}}"#))
        }
        (Operation::Write, "secret/data/app") => json(METADATA),
        (Operation::Delete, "secret/data/app") => {
            Ok(Response { revision: 8, ..Response::default() })
        }
        (Operation::Read, "secret/data/deleted") => {
            Err(Error::not_found().with_data(Bytes::from_static(DELETED.as_bytes())))
        }
        (Operation::Read, "secret/app" | "secret/data/hint") => {
            let hint = Error::new(ErrorCode::NotFound, "put 'data/' between mount and name");
            Err(hint.with_data(Bytes::from_static(b"null")))
        }
        (Operation::List, "secret/metadata/" | "secret/metadata") => {
            json(r#"{"keys":["app","dir/"]}"#)
        }
        (_, "sys/internal/specs/openapi") => json(r#"{"openapi":"3.0.2"}"#),
        (Operation::Read, "sys/mounts") => json(r#"{ "secret/": {"type":"kv"} }"#),
        (Operation::Read, "sys/metrics") => json(r#""a_metric 1\n""#),
        (Operation::Read, "sys/storage/raft/configuration") => json(
            r#"{"config":{"index":5,"epoch":3,"backup_key":"ab","servers":[{"address":"one:8201","api_addr":"https://one:8200","leader":true,"node_id":"one","raft_id":1,"voter":true,"protocol_version":"3","health":{"applied_index":40,"sealed":false,"state_hash":"0102","unfit":true}}]}}"#,
        ),
        (Operation::Write, "sys/storage/raft/join-token") => {
            json(r#"{"token":"jt","ttl":600,"ttl_ms":600000}"#)
        }
        (Operation::Write, "sys/sessions/open") => json(r#"{"session":"73657373","ttl_ms":5000}"#),
        (Operation::Write, "warn/me") => {
            Ok(Response { warnings: vec!["mind \"this\"".into()], ..Response::default() })
        }
        (Operation::Write, "sys/seal" | "sys/step-down" | "sys/sessions/close")
        | (
            Operation::Write,
            "sys/storage/raft/remove-peer" | "sys/storage/raft/promote" | "sys/storage/raft/demote",
        ) => Ok(Response::default()),
        (_, "panic") => panic!("the fake panics where it is told to"),
        _ => Err(Error::not_found()),
    }
}

fn error_named(name: &str) -> Error {
    let (name, said) = match name.strip_suffix("/silent") {
        Some(name) => (name, ""),
        None => (name, "what went wrong; what to do"),
    };
    let code = ALL_CODES.into_iter().find(|code| format!("{code:?}") == name).unwrap();
    let mut error = Error::new(code, said);
    error.internal = Some("only for the log".into());
    error
}

pub(super) const ALL_CODES: [ErrorCode; 18] = [
    ErrorCode::InvalidRequest,
    ErrorCode::CasMismatch,
    ErrorCode::PermissionDenied,
    ErrorCode::NotFound,
    ErrorCode::UnsupportedOperation,
    ErrorCode::Conflict,
    ErrorCode::TooLarge,
    ErrorCode::Busy,
    ErrorCode::NotInitialized,
    ErrorCode::Sealed,
    ErrorCode::NoLeader,
    ErrorCode::Unavailable,
    ErrorCode::OutcomeUnknown,
    ErrorCode::DeadlineExceeded,
    ErrorCode::Quarantined,
    ErrorCode::Internal,
    ErrorCode::SessionUnknown,
    ErrorCode::DiskFull,
];

impl Service for Fake {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        async move {
            if request.path == "never" {
                futures::future::pending::<()>().await;
            }
            if request.path == "slow" {
                TestClock::new().sleep(Duration::from_secs(20)).await;
            }
            let outcome = answer(&request);
            self.finished.fetch_add(1, Ordering::SeqCst);
            outcome
        }
        .boxed()
    }

    /// Below `paced/` and `echo/paced/` a second request is one too many.
    fn within_quota(&self, path: &str, _: Option<IpAddr>) -> Option<Standing> {
        let rest = path.strip_prefix("echo/").unwrap_or(path).strip_prefix("paced/")?;
        let allowed = self.paced.fetch_add(1, Ordering::SeqCst) == 0;
        let (remaining, retry_after_s) = (0, if allowed { 0 } else { 7 });
        Some(Standing {
            allowed,
            shown: rest == "shown",
            limit: 1,
            remaining,
            reset_s: 9,
            retry_after_s,
        })
    }

    fn status(&self) -> NodeStatus {
        self.status.lock().unwrap().clone()
    }

    fn init(&self, request: InitRequest) -> BoxFuture<'_, Result<InitResponse, Error>> {
        self.note(format!("init {} {}", request.shares, request.threshold));
        let outcome = if request.threshold > request.shares {
            Err(Error::invalid("the threshold is above the shares; lower it"))
        } else {
            Ok(InitResponse {
                keys: vec![Zeroizing::new(vec![1, 2, 255])],
                root_token: Zeroizing::new("hvs.root".into()),
            })
        };
        async move { outcome }.boxed()
    }

    fn unseal(
        &self,
        share: Zeroizing<Vec<u8>>,
        reset: bool,
    ) -> BoxFuture<'_, Result<NodeStatus, Error>> {
        self.note(format!("unseal {:?} {reset}", *share));
        let status = self.status();
        async move { Ok(status) }.boxed()
    }

    fn join(&self, request: JoinRequest) -> BoxFuture<'_, Result<(), Error>> {
        let JoinRequest { leader_cluster_addr: leader, token, non_voter } = request;
        self.note(format!("join {leader:?} {token:?} {non_voter}"));
        async move { Ok(()) }.boxed()
    }

    fn save_snapshot(
        &self,
        request: Request,
    ) -> BoxFuture<'_, Result<crate::SnapshotBytes, Error>> {
        self.note(format!("save {:?} {}", request.operation, request.path));
        if request.token.is_none() {
            return Box::pin(ready(Err(Error::new(ErrorCode::PermissionDenied, ""))));
        }
        let open = Open::new(&self.open_backups);
        let parts: Vec<_> = match request.namespace.as_str() {
            "broken" => vec![Ok("one".into()), Err(std::io::Error::other("the disk failed"))],
            "endless" => return Box::pin(ready(Ok(endless(open)))),
            _ => ["one", "two", "three"].map(|part| Ok(Bytes::from(part))).into(),
        };
        let parts = stream::iter(parts).inspect(move |_| open.look());
        Box::pin(ready(Ok(parts.boxed())))
    }

    fn restore_snapshot(
        &self,
        request: Request,
        force: bool,
        mut backup: crate::SnapshotBytes,
    ) -> BoxFuture<'_, Result<Response, Error>> {
        async move {
            if request.token.is_none() {
                return Err(Error::new(ErrorCode::PermissionDenied, ""));
            }
            let mut length = 0;
            let end = loop {
                match backup.next().await {
                    Some(Ok(part)) => length += part.len(),
                    Some(Err(error)) => break error.to_string(),
                    None => break "whole".to_owned(),
                }
            };
            self.note(format!("restore {} {force} {length} {end}", request.path));
            if end != "whole" {
                return Err(Error::invalid(end));
            }
            let data = Bytes::from_static(b"{\"epoch\":2}");
            Ok(Response { data: Some(data), revision: 9, ..Response::default() })
        }
        .boxed()
    }

    fn metrics(&self) -> String {
        "open_metric 1\n".into()
    }

    fn allows_origin(&self, origin: &str) -> Option<bool> {
        self.origin.lock().unwrap().map(|allowed| allowed == origin || allowed == "*")
    }

    fn allowed_headers(&self) -> Vec<String> {
        ["Content-Type", "X-Vault-Token"].map(str::to_owned).to_vec()
    }

    fn make_request_id(&self) -> String {
        "00000000-0000-0000-0000-000000000001".into()
    }
}

pub(super) struct TestClock(tokio::time::Instant);

impl TestClock {
    pub(super) fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TestClock {
    fn wall_ms(&self) -> u64 {
        1_795_564_800_000
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        #[expect(clippy::disallowed_methods, reason = "the port's implementation for these tests")]
        tokio::time::sleep(duration).boxed()
    }
}

struct Zeros;

impl Rng for Zeros {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}

struct TestSpawn;

impl Spawn for TestSpawn {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        spawn(task);
    }
}

#[expect(clippy::disallowed_methods, reason = "the port's implementation for these tests")]
pub(super) fn spawn(task: BoxFuture<'static, ()>) {
    tokio::spawn(task);
}

/// A gateway, its fake, and what ends it.
pub(super) struct Bench {
    pub(super) fake: Arc<Fake>,
    pub(super) gateway: Gateway,
    pub(super) shutdown: watch::Sender<bool>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_, _| ())
    }

    pub(super) fn with(change: impl FnOnce(&mut GatewayConfig, &mut Limits)) -> Self {
        let mut config = GatewayConfig::default();
        let mut limits = Limits::of(&config);
        change(&mut config, &mut limits);
        let fake = Fake::new();
        let ports = Ports {
            clock: Arc::new(TestClock::new()),
            rng: Arc::new(Zeros),
            spawn: Arc::new(TestSpawn),
        };
        let gateway =
            Gateway::with_limits(Arc::clone(&fake) as Arc<dyn Service>, ports, config, limits);
        Self { fake, gateway, shutdown: watch::channel(false).0 }
    }

    /// A new connection to the gateway.
    pub(super) fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (gateway, shutdown) = (self.gateway.clone(), self.shutdown.subscribe());
        let address = "192.0.2.7".parse().unwrap();
        spawn(Box::pin(async move {
            gateway.serve_connection(TokioIo::new(far), address, shutdown).await;
        }));
        near
    }

    /// Sends these bytes on a new connection and gives back all that is answered until the
    /// connection ends, without the `date` header.
    pub(super) async fn talk(&self, bytes: impl Into<Vec<u8>>) -> String {
        let (mut read, mut write) = tokio::io::split(self.connect());
        let bytes = bytes.into();
        let send = async {
            // The gateway may close before it took everything, which the answer then explains.
            let _ = write.write_all(&bytes).await;
            let _ = write.shutdown().await;
        };
        let mut answer = Vec::new();
        let (_, received) = futures::join!(send, read.read_to_end(&mut answer));
        received.unwrap();
        let text = String::from_utf8(answer).unwrap();
        text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
    }

    /// One request with these header lines and this body.
    pub(super) async fn ask(&self, line: &str, headers: &str, body: &str) -> String {
        self.talk(request(line, headers, body)).await
    }

    /// The status of the answer to one request.
    pub(super) async fn status_of(&self, line: &str, headers: &str, body: &str) -> u16 {
        status(&self.ask(line, headers, body).await)
    }
}

pub(super) fn status(answer: &str) -> u16 {
    let line = answer.lines().next().expect("every request is answered");
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(super) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

pub(super) fn request(line: &str, headers: &str, body: &str) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nhost: conclave\r\n");
    for header in headers.lines() {
        text += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        text += &format!("content-length: {}\r\n", body.len());
    }
    text + "\r\n" + body
}

/// Requests and answers as a reader sees them.
#[derive(Default)]
pub(super) struct Transcript(String);

impl Transcript {
    pub(super) async fn ask(&mut self, bench: &Bench, line: &str, headers: &str, body: &str) {
        self.talk(bench, &request(line, headers, body)).await;
    }

    pub(super) async fn talk(&mut self, bench: &Bench, request: &str) {
        let answer = bench.talk(request).await;
        for (mark, text) in [("> ", request), ("< ", answer.as_str())] {
            for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
                self.0 += mark;
                self.0 += line;
                self.0.push('\n');
            }
        }
        self.0.push('\n');
    }

    /// Compares with the golden file, or with `UPDATE=1` rewrites it.
    pub(super) fn check(&self, name: &str) {
        let file = format!("{}/src/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(std::path::Path::new(&file).parent().unwrap()).unwrap();
            std::fs::write(&file, &self.0).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(golden == self.0, "{file} differs; see it with UPDATE=1. Now:\n{}", self.0);
    }
}

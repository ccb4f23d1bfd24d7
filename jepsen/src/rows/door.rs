//! One node as a client sees it: bytes in, whole answers out, with their heads. Nothing here retries
//! or follows: a row looks at exactly what the node said.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::cluster::{Cluster, Node};
use crate::http::Raw;
use crate::pace;

/// A node that rows talk to.
#[derive(Clone)]
pub(crate) struct Door {
    raw: Arc<Raw>,
    pub(crate) node: Node,
}

impl Door {
    pub(crate) fn new(cluster: &Cluster, node: &Node) -> anyhow::Result<Self> {
        let raw = Raw::new(&cluster.ready.ca_file, &node.api_addr, "")?;
        Ok(Self { raw: Arc::new(raw), node: node.clone() })
    }

    /// A connection that is kept for several requests.
    pub(crate) async fn session(&self) -> anyhow::Result<Session> {
        let connect = self.raw.connect(None);
        let stream = pace::within(ANSWER_MAX, "a connection", connect).await??;
        Ok(Session { stream, unread: Vec::new() })
    }

    /// The same from an address of this machine that is not the usual one.
    pub(crate) async fn session_from(&self, source: IpAddr) -> anyhow::Result<Session> {
        let connect = self.raw.connect(Some(source));
        let stream = pace::within(ANSWER_MAX, "a connection", connect).await??;
        Ok(Session { stream, unread: Vec::new() })
    }

    /// A connection for HTTP/2 frames.
    pub(crate) async fn http2(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        pace::within(ANSWER_MAX, "a connection", self.raw.connect_http2()).await?
    }

    /// Somebody with this token.
    pub(crate) fn caller(&self, token: &str) -> Caller {
        Caller { door: self.clone(), token: token.to_owned() }
    }

    /// Somebody without one.
    pub(crate) fn nobody(&self) -> Caller {
        self.caller("")
    }

    /// The memory of the node's process, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.node.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.context("the process has no VmRSS")?.split_whitespace().next();
        words.context("VmRSS without a number")?.parse().context("VmRSS")
    }
}

/// One connection.
pub(crate) struct Session {
    stream: TlsStream<TcpStream>,
    /// What came behind the last answer.
    unread: Vec<u8>,
}

impl Session {
    /// Sends bytes as they are. A node that refuses early may have stopped to read: what it said is
    /// what counts, so that is no error here.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(&mut self, request: &Request<'_>) -> anyhow::Result<Reply> {
        self.send(&request.bytes("keep-alive")).await;
        self.reply().await
    }

    /// The next answer.
    pub(crate) async fn reply(&mut self) -> anyhow::Result<Reply> {
        pace::within(ANSWER_MAX, "an answer", self.read_reply()).await?
    }

    /// Whether the node ends the connection within this time, without an answer or after one.
    pub(crate) async fn is_cut_within(&mut self, limit: Duration) -> bool {
        let mut piece = [0; 1024];
        let ended = async { while self.stream.read(&mut piece).await.is_ok_and(|n| n > 0) {} };
        pace::within(limit, "the end of a connection", ended).await.is_ok()
    }

    async fn read_reply(&mut self) -> anyhow::Result<Reply> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(self.read_more().await?, "the connection ended without an answer");
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).into_owned();
        self.unread.drain(..head_end);
        let mut reply = Reply { status: status(&head)?, head, body: String::new() };
        let length = reply.header("content-length").and_then(|text| text.parse().ok());
        let length = if reply.status == 204 { Some(0) } else { length };
        while length.is_none_or(|length| self.unread.len() < length) && self.read_more().await? {}
        let end = length.unwrap_or(usize::MAX).min(self.unread.len());
        let body: Vec<u8> = self.unread.drain(..end).collect();
        reply.body = String::from_utf8_lossy(&body).into_owned();
        Ok(reply)
    }

    /// Whether more came.
    async fn read_more(&mut self) -> anyhow::Result<bool> {
        ensure!(self.unread.len() < ANSWER_BYTES_MAX, "an answer without an end");
        let mut piece = vec![0; 16 << 10];
        // A connection that is reset after an answer has been closed all the same.
        let n = self.stream.read(&mut piece).await.unwrap_or_default();
        self.unread.extend_from_slice(&piece[..n]);
        Ok(n > 0)
    }
}

fn status(head: &str) -> anyhow::Result<u16> {
    let word = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    word.with_context(|| format!("no HTTP answer but {:?}", &head[..head.len().min(80)]))
}

/// What is sent.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// As it stands in the request line.
    pub(crate) target: &'a str,
    pub(crate) token: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    fn bytes(&self, connection: &str) -> Vec<u8> {
        let Self { method, target, token, headers, body } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: node\r\n");
        if !token.is_empty() {
            head.push_str(&format!("X-Vault-Token: {token}\r\n"));
        }
        for (name, value) in *headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = body.len();
        head.push_str(&format!("Content-Length: {length}\r\nConnection: {connection}\r\n\r\n"));
        [head.as_bytes(), body].concat()
    }
}

/// Somebody at a node.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) door: Door,
    pub(crate) token: String,
}

impl Caller {
    /// The same person at another node.
    pub(crate) fn at(&self, door: &Door) -> Self {
        door.caller(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.call("GET", path, &[], b"").await
    }

    pub(crate) async fn list(&self, path: &str) -> anyhow::Result<Reply> {
        self.call("LIST", path, &[], b"").await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Reply> {
        self.call("DELETE", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.call("POST", path, &[], body.to_string().as_bytes()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        let merge = [("Content-Type", "application/merge-patch+json")];
        self.call("PATCH", path, &merge, body.to_string().as_bytes()).await
    }

    /// `path` stands behind `/v1/`, as it is.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Reply> {
        self.call_at(method, &format!("/v1/{path}"), headers, body).await
    }

    /// `target` is all of the request line.
    pub(crate) async fn call_at(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Reply> {
        let request = Request { method, target, token: &self.token, headers, body };
        let mut session = self.door.session().await?;
        session.send(&request.bytes("close")).await;
        let reply = session.reply().await.with_context(|| format!("{method} {target}"))?;
        ensure!(reply.status / 100 != 3, "{method} {target} was redirected: {reply}");
        Ok(reply)
    }
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// With the status line.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    /// Demands one of these statuses; `what` was tried.
    pub(crate) fn is(self, statuses: &[u16], what: &str) -> anyhow::Result<Self> {
        ensure!(statuses.contains(&self.status), "{what}: {self}, not {statuses:?}");
        Ok(self)
    }

    /// Demands that it was done.
    pub(crate) fn done(self, what: &str) -> anyhow::Result<Self> {
        self.is(&[200, 204], what)
    }

    /// Demands a refusal that is the caller's fault.
    pub(crate) fn refused(self, what: &str) -> anyhow::Result<Self> {
        ensure!((400..500).contains(&self.status), "{what}: {self}, not a refusal");
        Ok(self)
    }

    /// A header's value, where it stands once or first.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// What two answers may differ by is left out: dates, and the revision that time brings.
    pub(crate) fn shown(&self) -> Self {
        let differs = ["date:", "x-conclave-revision:", "x-vault-index:"];
        let lines = self.head.lines().filter(|line| {
            let line = line.to_ascii_lowercase();
            !differs.iter().any(|name| line.starts_with(name))
        });
        Self { head: lines.collect::<Vec<_>>().join("\n"), ..self.clone() }
    }

    /// The body.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self}"))
    }

    /// What stands at this place of the body.
    pub(crate) fn at(&self, pointer: &str) -> anyhow::Result<Value> {
        let value = self.json()?;
        value.pointer(pointer).cloned().with_context(|| format!("no {pointer} in {self}"))
    }

    /// A text there.
    pub(crate) fn text(&self, pointer: &str) -> anyhow::Result<String> {
        let value = self.at(pointer)?;
        value.as_str().map(str::to_owned).with_context(|| format!("{pointer} is no text"))
    }

    /// The texts of a list there.
    pub(crate) fn texts(&self, pointer: &str) -> anyhow::Result<Vec<String>> {
        serde_json::from_value(self.at(pointer)?).with_context(|| format!("{pointer} is no list"))
    }
}

/// Status and how the body begins.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = self.body.trim().chars().take(SHOWN_CHARS_MAX).collect();
        write!(f, "{} {body}", self.status)
    }
}

const ANSWER_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 20;
const SHOWN_CHARS_MAX: usize = 240;

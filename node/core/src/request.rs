//! A request as both doors hand it in, and its answer, free of any protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::{IdempotencyKey, Operation};

/// A client token as the caller sent it. It has no `Debug` and is wiped on drop.
///
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_core::Token>();
/// ```
/// ```compile_fail
/// fn copyable<T: Clone>() {}
/// copyable::<conclave_core::Token>();
/// ```
/// ```compile_fail
/// fn comparable<T: PartialEq>() {}
/// comparable::<conclave_core::Token>();
/// ```
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes the text of a token.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for hashing it and for handing the request to the leader.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// How fresh data must be. Authority (token, policy) is always linearizable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadLevel {
    /// Sees every write that was acknowledged before the request.
    #[default]
    Linearizable,
    /// Sees at least this revision.
    AtRevision(u64),
    /// Whatever this node has.
    Stale,
}

/// How a client names a request that it may send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idempotency {
    /// By a number in a session.
    Numbered(RequestNumber),
    /// By a key that stands for this request alone; only requests that change something keep it.
    Keyed(IdempotencyKey),
}

/// A request's place in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestNumber {
    /// The session that the client opened.
    pub session: Bytes,
    /// The request's number in it.
    pub sequence: u64,
    /// The lowest number the client still asks about.
    pub low_water: u64,
}

/// One request.
pub struct Request {
    /// For logs and audit, unique.
    pub id: String,
    /// What is to be done.
    pub operation: Operation,
    /// As the client sent it, percent-decoded once, without `/v1/`. The pipeline canonicalises it.
    pub path: String,
    /// As the client sent it; empty for the root namespace.
    pub namespace: String,
    /// Absent where the client sent none.
    pub token: Option<Token>,
    /// A JSON object, or empty; the doors have checked its shape.
    pub body: Bytes,
    /// Query parameters, percent-decoded.
    pub query: BTreeMap<String, String>,
    /// Where the client connected from.
    pub client: Option<IpAddr>,
    /// Headers that the audit log may hold, by their names in lower case; see
    /// [`Core::audited_headers`](crate::Core::audited_headers).
    pub headers: BTreeMap<String, Vec<String>>,
    /// The node that handed the request on; empty where the client asked this one.
    pub forwarded_from: String,
    /// Set by clients that may send the request again.
    pub idempotency: Option<Idempotency>,
    /// How fresh data must be.
    pub read_level: ReadLevel,
    /// How long the request may take, from its arrival.
    pub time_limit: Duration,
}

/// The answer to a request.
#[derive(Default)]
pub struct Response {
    /// JSON of `data`; `None` where there is nothing to say (HTTP 204).
    pub data: Option<Bytes>,
    /// Hints for the caller.
    pub warnings: Vec<String>,
    /// JSON of `auth`: a token that was made or renewed.
    pub auth: Option<Bytes>,
    /// For how long the caller may keep the data, in seconds; 0 where nothing is said.
    pub lease_duration_s: u64,
    /// The revision that was read at or written.
    pub revision: u64,
}

impl Response {
    /// Nothing to say.
    pub fn empty() -> Self {
        Self::default()
    }

    /// An answer whose `data` is `value`.
    pub(crate) fn json(value: &impl serde::Serialize) -> Result<Self, crate::Error> {
        conclave_mount::Response::json(value).map(Self::from)
    }

    /// The same at this revision.
    pub(crate) fn at(self, revision: u64) -> Self {
        Self { revision, ..self }
    }
}

/// An engine's answer. A login that it grants is the pipeline's business.
impl From<conclave_mount::Response> for Response {
    fn from(answer: conclave_mount::Response) -> Self {
        Self {
            data: answer.data,
            warnings: answer.warnings,
            lease_duration_s: answer.keep_ms / 1000,
            ..Self::default()
        }
    }
}

/// Tells the size of the data, which is secret.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data_bytes = self.data.as_ref().map(Bytes::len);
        f.debug_struct("Response")
            .field("data_bytes", &data_bytes)
            .field("warnings", &self.warnings)
            .field("has_auth", &self.auth.is_some())
            .field("lease_duration_s", &self.lease_duration_s)
            .field("revision", &self.revision)
            .finish()
    }
}

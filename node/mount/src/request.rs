//! What goes into an engine and what comes out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::{EngineError, Login};

/// What is to be done. Values travel between nodes and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operation {
    /// GET.
    Read = 1,
    /// PUT or POST.
    Write = 2,
    /// LIST, or GET with `list=true`.
    List = 3,
    /// DELETE.
    Delete = 4,
    /// PATCH.
    Patch = 5,
    /// SCAN, or GET with `scan=true`: a LIST of everything below.
    Scan = 6,
}

impl Operation {
    /// The operation with this number, as it stood on the wire.
    pub fn from_wire(number: u32) -> Option<Self> {
        [Self::Read, Self::Write, Self::List, Self::Delete, Self::Patch, Self::Scan]
            .into_iter()
            .find(|operation| *operation as u32 == number)
    }

    /// The name that logs and audit use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "update",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Patch => "patch",
            Self::Scan => "scan",
        }
    }

    /// Whether it changes nothing of what the path holds.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::List | Self::Scan)
    }

    /// Whether it asks for names below a path; such a path ends in a slash.
    pub const fn lists(self) -> bool {
        matches!(self, Self::List | Self::Scan)
    }
}

/// What the caller may do, asked by engines whose answers show only what the caller may see.
pub trait Rights: Send + Sync {
    /// Whether the caller's policies allow `operation` on `path`, relative to the mount.
    fn may(&self, operation: Operation, path: &str) -> bool;

    /// Whether they allow a write at `path` that makes what is not there yet. [`Rights::may`] asks
    /// about a write to what is there.
    fn may_create(&self, path: &str) -> bool;
}

/// Who asks. Empty where nobody has logged in: at a login.
#[derive(Clone, Default)]
pub struct Caller {
    /// The token's accessor: names the token, opens nothing.
    pub accessor: String,
    /// For people: `userpass-anna`, `root`.
    pub display_name: String,
    /// The entity behind the token, if any.
    pub entity_id: String,
    /// The same for the life of the token and no other's; holds nothing of its text.
    pub token_id: String,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// What the caller may do here; `None` where that is not asked.
    pub rights: Option<Arc<dyn Rights>>,
}

/// What was given when a mount was enabled or tuned: `version` of a KV mount. All that may decide
/// which routes it has and where they run.
pub type MountOptions = BTreeMap<String, String>;

/// The mount that serves a request.
#[derive(Debug, Clone, Default)]
pub struct MountView {
    /// With a slash at its end: `secret/`.
    pub path: String,
    /// Its stable name: `kv_1a2b3c4d`.
    pub accessor: String,
    /// What was given when it was enabled or tuned.
    pub options: MountOptions,
    /// How long what it lends lives where nobody says; the system's value where the mount has none.
    pub default_lease_ttl_ms: u64,
    /// The longest it may live.
    pub max_lease_ttl_ms: u64,
}

/// An authorised request, with its path relative to the mount. It has no `Debug`: its body is
/// secret.
pub struct Request {
    /// What is to be done.
    pub operation: Operation,
    /// Canonical, without a leading slash; the path of a LIST or SCAN ends in a slash or is empty.
    pub path: String,
    /// A JSON object, or empty.
    pub body: Bytes,
    /// Query parameters, percent-decoded.
    pub query: BTreeMap<String, String>,
    /// The cluster's time, milliseconds since the Unix epoch: what an engine stamps into records.
    pub now_ms: u64,
    /// Random, this request's alone: what an engine derives new ids from. The same for every
    /// attempt of a request that lost a race.
    pub unique: [u8; 16],
    /// Who asks.
    pub caller: Caller,
    /// Where the request arrived.
    pub mount: Arc<MountView>,
}

impl Request {
    /// Parses the body into `T`, which may borrow from it. An empty body reads as `{}`.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the field but never echoing a value.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, EngineError> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| EngineError::from_json(&error))
    }
}

/// What an engine answers.
#[derive(Default)]
pub struct Response {
    /// JSON of `data`; `None` where there is nothing to say (HTTP 204).
    pub data: Option<Bytes>,
    /// Hints for the caller.
    pub warnings: Vec<String>,
    /// For how long the caller may keep what it read: `lease_duration` of an answer without a lease.
    pub keep_ms: u64,
    /// A login that was granted. The core makes the token.
    pub login: Option<Box<Login>>,
}

impl Response {
    /// Nothing to say.
    pub fn empty() -> Self {
        Self::default()
    }

    /// An answer whose `data` is `value`.
    ///
    /// # Errors
    /// `Internal` where `value` cannot be written as JSON.
    pub fn json(value: &impl serde::Serialize) -> Result<Self, EngineError> {
        let data = serde_json::to_vec(value)
            .map_err(|_| EngineError::internal("a response cannot be written as JSON"))?;
        Ok(Self { data: Some(data.into()), ..Self::default() })
    }
}

/// Tells the size of the data, which is secret.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data_bytes = self.data.as_ref().map(Bytes::len);
        f.debug_struct("Response")
            .field("data_bytes", &data_bytes)
            .field("warnings", &self.warnings)
            .finish()
    }
}

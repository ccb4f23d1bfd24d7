//! What goes into an engine and what comes out.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;

use crate::EngineError;

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
}

impl Operation {
    /// The operation with this number, as it stood on the wire.
    pub fn from_wire(number: u32) -> Option<Self> {
        [Self::Read, Self::Write, Self::List, Self::Delete, Self::Patch]
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
        }
    }
}

/// An authorised request, with its path relative to the mount. It has no `Debug`: its body is
/// secret.
pub struct Request {
    /// What is to be done.
    pub operation: Operation,
    /// Canonical, without a leading slash; a LIST's path ends in a slash or is empty.
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
        Ok(Self { data: Some(data.into()), warnings: Vec::new() })
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

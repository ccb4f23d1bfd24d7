//! Any operation on any path, as HTTP can do it.

use std::collections::BTreeMap;

use bytes::Bytes;
use conclave_proto::v1::logical_client::LogicalClient;
use conclave_proto::v1::{self, LogicalRequest};
use serde_json::Value;

use crate::client::Client;
use crate::config::ReadLevel;
use crate::error::Error;

/// What to do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// HTTP `GET`.
    Read,
    /// HTTP `POST` and `PUT`.
    Write,
    /// HTTP `LIST`.
    List,
    /// HTTP `DELETE`.
    Delete,
    /// HTTP `PATCH`.
    Patch,
    /// HTTP `SCAN`: a `LIST` of everything below.
    Scan,
}

impl Operation {
    fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::List | Self::Scan)
    }

    fn into_wire(self) -> v1::Operation {
        match self {
            Self::Read => v1::Operation::Read,
            Self::Write => v1::Operation::Write,
            Self::List => v1::Operation::List,
            Self::Delete => v1::Operation::Delete,
            Self::Patch => v1::Operation::Patch,
            Self::Scan => v1::Operation::Scan,
        }
    }
}

/// An answer to [`Logical::call`].
#[derive(Clone, PartialEq, Eq)]
pub struct LogicalResponse {
    /// JSON of `data`; empty where the operation has nothing to say.
    pub data: Bytes,
    /// Hints.
    pub warnings: Vec<String>,
    /// For looking the request up in an audit log.
    pub request_id: String,
    /// The revision that was read at or written.
    pub revision: u64,
    /// JSON of `auth`: a token that was made or renewed.
    pub auth: Option<Bytes>,
    /// For how long the data may be kept, in seconds; 0 where nothing is said.
    pub lease_duration_s: u64,
}

impl LogicalResponse {
    /// The data, parsed; `null` where there is none.
    pub fn value(&self) -> Result<Value, Error> {
        if self.data.is_empty() {
            return Ok(Value::Null);
        }
        crate::kv::parse(&self.data)
    }
}

/// Made by [`Client::logical`].
///
/// ```no_run
/// # async fn example(client: conclave_sdk::Client) -> Result<(), conclave_sdk::Error> {
/// use conclave_sdk::Operation;
///
/// let health = client.logical().call(Operation::Read, "sys/health", None).await?;
/// println!("{}", health.value()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Logical {
    client: Client,
    read_level: ReadLevel,
}

impl Logical {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, read_level: ReadLevel::default() }
    }

    /// Reads at this level from now on.
    pub fn with_read_level(mut self, level: ReadLevel) -> Self {
        self.read_level = level;
        self
    }

    /// Does `operation` on `path`, which has no leading `/v1/`, with a JSON object as body.
    pub async fn call(
        &self,
        operation: Operation,
        path: &str,
        body: Option<&Value>,
    ) -> Result<LogicalResponse, Error> {
        self.call_with_query(operation, path, &BTreeMap::new(), body).await
    }

    /// The same with query parameters.
    pub async fn call_with_query(
        &self,
        operation: Operation,
        path: &str,
        query: &BTreeMap<String, String>,
        body: Option<&Value>,
    ) -> Result<LogicalResponse, Error> {
        let message = LogicalRequest {
            operation: operation.into_wire().into(),
            path: path.to_owned(),
            namespace: self.client.namespace().to_owned(),
            body: body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
            query: query.clone().into_iter().collect(),
            request_id: None,
            read_level: self.read_level.into_wire(),
        };
        let sent = if operation.is_read() {
            self.client
                .read(|channel| {
                    let request = self.client.request(message.clone());
                    async move { LogicalClient::new(channel).call(request).await }
                })
                .await
        } else {
            self.client
                .write(|channel, request_id| {
                    let message = LogicalRequest { request_id, ..message.clone() };
                    let request = self.client.request(message);
                    async move { LogicalClient::new(channel).call(request).await }
                })
                .await
        };
        sent.map(|reply| LogicalResponse {
            data: reply.data,
            warnings: reply.warnings,
            request_id: reply.request_id,
            revision: reply.revision,
            auth: Some(reply.auth).filter(|auth| !auth.is_empty()),
            lease_duration_s: reply.lease_duration_s,
        })
    }
}

//! Versioned secrets (KV version 2).

use std::fmt;

use bytes::Bytes;
use conclave_proto::ErrorCode;
use conclave_proto::v1::kv_client::KvClient;
use conclave_proto::v1::{KvDeleteRequest, KvGetRequest, KvListRequest, KvPutRequest};
use serde_json::Value;

use crate::client::Client;
use crate::config::ReadLevel;
use crate::error::Error;

/// The secrets of one mount, made by [`Client::kv`].
#[derive(Debug, Clone)]
pub struct Kv {
    client: Client,
    mount: String,
    read_level: ReadLevel,
}

/// A JSON object to be stored, as text. Made from a [`Value`] or from bytes.
#[derive(Clone)]
pub struct SecretData(Bytes);

/// What a write brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutResult {
    /// The version written.
    pub version: u64,
    /// RFC 3339.
    pub created_time: String,
    /// The cluster's revision after it.
    pub revision: u64,
}

/// One version of a secret. Its `Debug` does not show the data.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// A JSON object; empty where the version was deleted or destroyed.
    pub data: Bytes,
    /// Counted from 1.
    pub version: u64,
    /// RFC 3339.
    pub created_time: String,
    /// RFC 3339; empty while it is not deleted.
    pub deletion_time: String,
    /// Whether the data is gone for good.
    pub destroyed: bool,
    /// The revision that was read at.
    pub revision: u64,
}

impl Secret {
    /// The data, parsed; `null` where the version was deleted or destroyed.
    pub fn value(&self) -> Result<Value, Error> {
        if self.data.is_empty() {
            return Ok(Value::Null);
        }
        parse(&self.data)
    }

    /// Whether the version is there, and neither deleted nor destroyed.
    pub fn is_live(&self) -> bool {
        !self.data.is_empty() && self.deletion_time.is_empty() && !self.destroyed
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("version", &self.version)
            .field("created_time", &self.created_time)
            .field("deletion_time", &self.deletion_time)
            .field("destroyed", &self.destroyed)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Kv {
    pub(crate) fn new(client: Client, mount: String) -> Self {
        Self { client, mount, read_level: ReadLevel::default() }
    }

    /// Reads at this level from now on.
    pub fn with_read_level(mut self, level: ReadLevel) -> Self {
        self.read_level = level;
        self
    }

    /// Writes a new version. With `cas` only if that is the current one, 0 meaning that there must
    /// be none; else the error's code is `CasMismatch`.
    pub async fn put(
        &self,
        path: &str,
        data: impl Into<SecretData>,
        cas: Option<u64>,
    ) -> Result<PutResult, Error> {
        let SecretData(data) = data.into();
        let (mount, path) = (self.mount.clone(), path.to_owned());
        let message = KvPutRequest { mount, path, data, cas, request_id: None };
        let written = self
            .client
            .write(|channel, request_id| {
                let message = KvPutRequest { request_id, ..message.clone() };
                let request = self.client.request(message);
                async move { KvClient::new(channel).put(request).await }
            })
            .await?;
        Ok(PutResult {
            version: written.version,
            created_time: written.created_time,
            revision: written.revision,
        })
    }

    /// Reads a version, the newest without a number. `None` where there is no such secret or
    /// version; a deleted version comes without data.
    pub async fn get(&self, path: &str, version: Option<u64>) -> Result<Option<Secret>, Error> {
        let message = KvGetRequest {
            mount: self.mount.clone(),
            path: path.to_owned(),
            version: version.unwrap_or(0),
            read_level: self.read_level.into_wire(),
        };
        let read = self
            .client
            .read(|channel| {
                let request = self.client.request(message.clone());
                async move { KvClient::new(channel).get(request).await }
            })
            .await;
        let Some(found) = or_absent(read)? else { return Ok(None) };
        Ok(Some(Secret {
            data: found.data,
            version: found.version,
            created_time: found.created_time,
            deletion_time: found.deletion_time,
            destroyed: found.destroyed,
            revision: found.revision,
        }))
    }

    /// The names directly under `path`, sorted; those that end in `/` have more below them. Empty
    /// where there are none. Asks for page after page.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let mut keys: Vec<String> = Vec::new();
        loop {
            let after = keys.last().cloned().unwrap_or_default();
            let page = self.list_page(path, &after, LIST_PAGE).await?;
            let last = page.len() < LIST_PAGE || page.last() <= keys.last();
            keys.extend(page);
            if last {
                return Ok(keys);
            }
        }
    }

    /// At most `limit` names that sort behind `after`.
    pub async fn list_page(
        &self,
        path: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let message = KvListRequest {
            mount: self.mount.clone(),
            path: path.to_owned(),
            after: after.to_owned(),
            limit: limit as u64,
        };
        let read = self
            .client
            .read(|channel| {
                let request = self.client.request(message.clone());
                async move { KvClient::new(channel).list(request).await }
            })
            .await;
        Ok(or_absent(read)?.map(|found| found.keys).unwrap_or_default())
    }

    /// Marks versions as deleted, the newest where none is named, and returns the cluster's
    /// revision after it. Their data can be brought back.
    pub async fn delete(&self, path: &str, versions: &[u64]) -> Result<u64, Error> {
        let message = KvDeleteRequest {
            mount: self.mount.clone(),
            path: path.to_owned(),
            versions: versions.to_vec(),
            request_id: None,
        };
        let deleted = self
            .client
            .write(|channel, request_id| {
                let message = KvDeleteRequest { request_id, ..message.clone() };
                let request = self.client.request(message);
                async move { KvClient::new(channel).delete(request).await }
            })
            .await?;
        Ok(deleted.revision)
    }

    /// Reads, lets `change` compute the new value from the old, and writes it only if nobody else
    /// wrote in between; else begins again. The request id makes each write happen once even if
    /// its answer is lost, so a counter counts exactly. `change` may run several times.
    ///
    /// ```no_run
    /// # async fn example(kv: conclave_sdk::Kv) -> Result<(), conclave_sdk::Error> {
    /// kv.update("counter", |old| {
    ///     let n = old.and_then(|old| old["n"].as_u64()).unwrap_or(0);
    ///     serde_json::json!({"n": n + 1})
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update<F>(&self, path: &str, mut change: F) -> Result<PutResult, Error>
    where
        F: FnMut(Option<Value>) -> Value,
    {
        let mut lost = None;
        for _ in 0..UPDATE_ATTEMPTS_MAX {
            let old = self.get(path, None).await?;
            let version = old.as_ref().map_or(0, |old| old.version);
            let old = old.filter(Secret::is_live).map(|old| old.value()).transpose()?;
            match self.put(path, change(old), Some(version)).await {
                Err(error) if error.code() == Some(ErrorCode::CasMismatch) => lost = Some(error),
                result => return result,
            }
        }
        Err(lost.expect("the loop runs at least once"))
    }
}

fn or_absent<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The position of a fault is told, never the text around it, which is secret.
pub(crate) fn parse(data: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(data).map_err(|error| Error::Answer {
        message: format!("its data is not JSON from column {} on", error.column()),
    })
}

impl From<&Value> for SecretData {
    fn from(value: &Value) -> Self {
        Self(Bytes::from(value.to_string()))
    }
}

impl From<Value> for SecretData {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl From<Bytes> for SecretData {
    fn from(json: Bytes) -> Self {
        Self(json)
    }
}

impl From<Vec<u8>> for SecretData {
    fn from(json: Vec<u8>) -> Self {
        Self(json.into())
    }
}

impl From<&[u8]> for SecretData {
    fn from(json: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(json))
    }
}

/// Names in one page of a list: far below gRPC's limit for an answer.
const LIST_PAGE: usize = 1000;
/// Lost races before `update` gives up. Each is lost to another's success.
const UPDATE_ATTEMPTS_MAX: usize = 1000;

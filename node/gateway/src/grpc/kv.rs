//! `Kv`: key-value secrets, version 2, typed.

use bytes::{BufMut, Bytes, BytesMut};
use conclave_core::Operation;
use conclave_proto::ErrorCode;
use conclave_proto::v1::kv_server::Kv;
use conclave_proto::v1::{
    KvDeleteRequest, KvDeleteResponse, KvGetRequest, KvGetResponse, KvListRequest, KvListResponse,
    KvPutRequest, KvPutResponse,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tonic::{Request, Response, Status, async_trait};

use super::Handlers;
use super::context::{Ask, open, parse_data};
use crate::config::JsonLimits;
use crate::json;
use crate::refusal::Refusal;

#[async_trait]
impl Kv for Handlers {
    async fn put(&self, request: Request<KvPutRequest>) -> Result<Response<KvPutResponse>, Status> {
        let (context, message) = open(request)?;
        let path = route(&message.mount, "data", &message.path)?;
        let mut ask =
            Ask::new(Operation::Write, path).with_body(put_body(&message, &self.caller.json)?);
        ask.request_id = message.request_id;
        let answered = self.call(context, ask).await?;
        let data: Version = answered.parse()?;
        Ok(Response::new(KvPutResponse {
            version: data.version,
            created_time: data.created_time,
            revision: answered.response.revision,
        }))
    }

    async fn get(&self, request: Request<KvGetRequest>) -> Result<Response<KvGetResponse>, Status> {
        let (context, message) = open(request)?;
        let path = route(&message.mount, "data", &message.path)?;
        let mut ask = Ask::new(Operation::Read, path);
        if message.version > 0 {
            ask.query.insert("version".into(), message.version.to_string());
        }
        ask.read_level = message.read_level;
        let answer = match self.call(context, ask).await {
            Ok(answered) => {
                get_response(answered.response.data.as_ref(), answered.response.revision)
            }
            // A deleted version is an answer here: its metadata says what became of it.
            Err(refusal) if is_deleted_version(&refusal) => get_response(refusal.data.as_ref(), 0),
            Err(refusal) => Err(refusal),
        };
        Ok(Response::new(answer?))
    }

    async fn list(
        &self,
        request: Request<KvListRequest>,
    ) -> Result<Response<KvListResponse>, Status> {
        let (context, message) = open(request)?;
        let path = list_route(&message.mount, &message.path)?;
        let mut ask = Ask::new(Operation::List, path);
        if !message.after.is_empty() {
            ask.query.insert("after".into(), message.after);
        }
        if message.limit > 0 {
            ask.query.insert("limit".into(), message.limit.to_string());
        }
        let answered = self.call(context, ask).await?;
        let data: Keys = answered.parse()?;
        let revision = answered.response.revision;
        Ok(Response::new(KvListResponse { keys: data.keys, revision }))
    }

    async fn delete(
        &self,
        request: Request<KvDeleteRequest>,
    ) -> Result<Response<KvDeleteResponse>, Status> {
        let (context, message) = open(request)?;
        let mut ask = if message.versions.is_empty() {
            Ask::new(Operation::Delete, route(&message.mount, "data", &message.path)?)
        } else {
            let body = serde_json::json!({ "versions": message.versions }).to_string();
            let path = route(&message.mount, "delete", &message.path)?;
            Ask::new(Operation::Write, path).with_body(body)
        };
        ask.request_id = message.request_id;
        let answered = self.call(context, ask).await?;
        Ok(Response::new(KvDeleteResponse { revision: answered.response.revision }))
    }
}

/// The HTTP path of a secret. A mount may be named with or without its trailing slash.
fn route(mount: &str, kind: &str, path: &str) -> Result<String, Refusal> {
    let mount = mount_name(mount)?;
    if path.is_empty() {
        return Err(Refusal::invalid("the path is empty; name a secret"));
    }
    Ok(format!("{mount}/{kind}/{path}"))
}

/// The HTTP path of a directory; the empty path is the mount's root.
fn list_route(mount: &str, path: &str) -> Result<String, Refusal> {
    let mount = mount_name(mount)?;
    let slash = if path.is_empty() || path.ends_with('/') { "" } else { "/" };
    Ok(format!("{mount}/metadata/{path}{slash}"))
}

fn mount_name(mount: &str) -> Result<&str, Refusal> {
    let name = mount.strip_suffix('/').unwrap_or(mount);
    if name.is_empty() {
        return Err(Refusal::invalid("the mount is empty; name one, such as secret"));
    }
    Ok(name)
}

/// The body that HTTP would carry, with the caller's data spliced in.
fn put_body(message: &KvPutRequest, limits: &JsonLimits) -> Result<Bytes, Refusal> {
    // Checked alone first: data that is no whole object must not reach into what is around it.
    json::check_object(&message.data, limits)?;
    let data: &[u8] = if message.data.trim_ascii().is_empty() { b"{}" } else { &message.data };
    let mut body = BytesMut::with_capacity(data.len() + 64);
    body.put_slice(b"{");
    if let Some(cas) = message.cas {
        body.put_slice(format!("\"options\":{{\"cas\":{cas}}},").as_bytes());
    }
    body.put_slice(b"\"data\":");
    body.put_slice(data);
    body.put_slice(b"}");
    Ok(body.freeze())
}

/// A 404 with data and a message is about the path, one without a message about the version.
fn is_deleted_version(refusal: &Refusal) -> bool {
    refusal.code == ErrorCode::NotFound && refusal.message.is_empty() && refusal.data.is_some()
}

fn get_response(data: Option<&Bytes>, revision: u64) -> Result<KvGetResponse, Refusal> {
    let secret: Secret<'_> = parse_data(data)?;
    Ok(KvGetResponse {
        data: secret
            .data
            .filter(|data| data.get() != "null")
            .map(|data| Bytes::copy_from_slice(data.get().as_bytes()))
            .unwrap_or_default(),
        version: secret.metadata.version,
        created_time: secret.metadata.created_time,
        deletion_time: secret.metadata.deletion_time,
        destroyed: secret.metadata.destroyed,
        revision,
    })
}

#[derive(Deserialize)]
struct Secret<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
    created_time: String,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
}

//! Bringing a node to life: init, unseal, join; and its metrics. None of them needs a core.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::logical::named;
use super::status::{seal_status_json, to_json};
use super::{Answer, HttpDoor, head, json_answer, lenient, require_method};
use crate::gateway::Peer;
use crate::inbound::Inbound;
use crate::refusal::Refusal;
use crate::{InitRequest, InitResponse, JoinRequest};

impl HttpDoor {
    /// `sys/init`.
    pub(super) async fn init(&self, request: Request<Inbound>) -> Answer {
        if request.method() == Method::GET {
            let initialized = self.caller.service.status().initialized;
            return Ok(json_answer(StatusCode::OK, to_json(&Initialized { initialized })?));
        }
        require_method(request.method(), &WRITES)?;
        let (body, permit) = self.read_object(request).await?;
        let shares = parse::<InitBody>(&body)?.shares()?;
        let response = self
            .caller
            .detached(permit, move |service| Box::pin(async move { service.init(shares).await }))
            .await?;
        Ok(json_answer(StatusCode::OK, init_json(&response)?))
    }

    /// `sys/unseal`.
    pub(super) async fn unseal(&self, request: Request<Inbound>) -> Answer {
        require_method(request.method(), &WRITES)?;
        let (body, permit) = self.read_object(request).await?;
        let body: UnsealBody<'_> = parse(&body)?;
        let reset = body.reset;
        let share = if reset { Zeroizing::default() } else { decode_key(body.key.as_deref())? };
        let status = self
            .caller
            .detached(permit, move |service| {
                Box::pin(async move { service.unseal(share, reset).await })
            })
            .await?;
        Ok(json_answer(StatusCode::OK, seal_status_json(&status)?))
    }

    /// `sys/storage/raft/join`.
    pub(super) async fn join(&self, request: Request<Inbound>) -> Answer {
        require_method(request.method(), &WRITES)?;
        let (body, permit) = self.read_object(request).await?;
        let join = parse::<JoinBody>(&body)?.request()?;
        self.caller
            .detached(permit, move |service| Box::pin(async move { service.join(join).await }))
            .await?;
        Ok(json_answer(StatusCode::OK, to_json(&Joined { joined: true })?))
    }

    /// The ceremonies of holders of shares, which the core serves: outside the envelope.
    pub(super) async fn key_ceremony(
        &self,
        path: &str,
        request: Request<Inbound>,
        peer: Peer,
    ) -> Answer {
        head::require_root_namespace(request.headers())?;
        let id = self.caller.service.make_request_id();
        let response = self.call_core(path, &id, request, peer).await.map_err(named(&id))?;
        Ok(match response.data {
            Some(data) => json_answer(StatusCode::OK, data),
            None => json_answer(StatusCode::NO_CONTENT, Bytes::new()),
        })
    }

    /// `sys/metrics`: from the node where the listener allows it, else through the core, which asks
    /// for a token.
    pub(super) async fn metrics(&self, request: Request<Inbound>, peer: Peer) -> Answer {
        require_method(request.method(), &[Method::GET])?;
        let query = head::query(request.uri())?;
        if query.get("format").is_some_and(|format| format != "prometheus") {
            return Err(Refusal::invalid("the format must be prometheus"));
        }
        let text = if self.unauthenticated_metrics {
            self.caller.service.metrics()
        } else {
            let id = self.caller.service.make_request_id();
            let response = self.call_core("sys/metrics", &id, request, peer).await?;
            let data = response.data.unwrap_or_default();
            serde_json::from_slice(&data)
                .map_err(|_| Refusal::internal("the core's metrics are no JSON string"))?
        };
        let mut answer = json_answer(StatusCode::OK, text);
        let prometheus = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, prometheus);
        Ok(answer)
    }
}

/// Whether a path is a step of what holders of shares do together.
pub(super) fn is_of_keys(path: &str) -> bool {
    KEY_ROUTES.contains(&path)
}

const KEY_ROUTES: [&str; 8] = [
    "sys/generate-root/attempt",
    "sys/generate-root/update",
    "sys/rekey/init",
    "sys/rekey/update",
    "sys/rekey/verify",
    "sys/rekey-recovery-key/init",
    "sys/rekey-recovery-key/update",
    "sys/rekey-recovery-key/verify",
];

const WRITES: [Method; 2] = [Method::PUT, Method::POST];

fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Refusal> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| conclave_core::Error::from_json(&error).into())
}

/// A share as the operator pasted it: hex, else base64.
fn decode_key(text: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let text = text.filter(|text| !text.is_empty()).ok_or_else(|| {
        Refusal::invalid("'key' must be specified in the request body, or 'reset' set to true")
    })?;
    hex::decode(text)
        .ok()
        .or_else(|| BASE64.decode(text).ok())
        .map(Zeroizing::new)
        .ok_or_else(|| Refusal::invalid("'key' must be a valid hex or base64 string"))
}

/// The answer to `init`, in memory that is wiped once it was sent.
fn init_json(response: &InitResponse) -> Result<Bytes, Refusal> {
    let keys: Vec<_> = response.keys.iter().map(|key| Zeroizing::new(hex::encode(key))).collect();
    let keys_base64: Vec<_> =
        response.keys.iter().map(|key| Zeroizing::new(BASE64.encode(key))).collect();
    let answer = Initialization {
        keys: keys.iter().map(|key| key.as_str()).collect(),
        keys_base64: keys_base64.iter().map(|key| key.as_str()).collect(),
        root_token: &response.root_token,
    };
    // Large enough for 255 shares of a 32-byte key, so that it never moves while it is written.
    let mut out = Zeroizing::new(Vec::with_capacity(64 << 10));
    serde_json::to_writer(&mut *out, &answer)
        .map_err(|_| Refusal::internal("an answer cannot be written as JSON"))?;
    out.push(b'\n');
    Ok(Bytes::from_owner(out))
}

/// `secret_*` splits the unseal key, `recovery_*` the recovery key where the seal opens by itself;
/// a cluster has one of them.
#[derive(Deserialize)]
struct InitBody {
    #[serde(default, deserialize_with = "lenient::number")]
    secret_shares: Option<u8>,
    #[serde(default, deserialize_with = "lenient::number")]
    secret_threshold: Option<u8>,
    #[serde(default, deserialize_with = "lenient::number")]
    recovery_shares: Option<u8>,
    #[serde(default, deserialize_with = "lenient::number")]
    recovery_threshold: Option<u8>,
    #[serde(default)]
    pgp_keys: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    root_token_pgp_key: Option<Box<str>>,
}

impl InitBody {
    fn shares(self) -> Result<InitRequest, Refusal> {
        let wants_pgp = self.pgp_keys.is_some_and(|keys| !keys.is_empty())
            || self.root_token_pgp_key.is_some_and(|key| !key.is_empty());
        if wants_pgp {
            // Answering with plain shares would break what the operator relies on.
            return Err(Refusal::invalid("PGP keys are not supported; leave them out"));
        }
        Ok(InitRequest {
            shares: self.secret_shares.or(self.recovery_shares).unwrap_or_default(),
            threshold: self.secret_threshold.or(self.recovery_threshold).unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
struct UnsealBody<'a> {
    #[serde(default, borrow)]
    key: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient::boolean")]
    reset: bool,
}

#[derive(Deserialize)]
struct JoinBody {
    #[serde(default)]
    join_token: Option<String>,
    #[serde(default)]
    leader_api_addr: Option<String>,
    #[serde(default)]
    leader_cluster_addr: Option<String>,
    #[serde(default, deserialize_with = "lenient::boolean")]
    non_voter: bool,
}

impl JoinBody {
    fn request(self) -> Result<JoinRequest, Refusal> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (token, cluster_addr) = (given(self.join_token), given(self.leader_cluster_addr));
        let api_addr = given(self.leader_api_addr);
        let leader_cluster_addr = match (cluster_addr, api_addr) {
            (None, Some(url)) if token.is_none() => Some(peer_listener(&url).ok_or_else(|| {
                Refusal::invalid("leader_api_addr is no URL of a node; write https://host:8200")
            })?),
            (cluster_addr, _) => cluster_addr,
        };
        Ok(JoinRequest { leader_cluster_addr, token, non_voter: self.non_voter })
    }
}

/// The peer listener of the node with this URL: one port up, where nodes have it that are not told
/// otherwise.
fn peer_listener(url: &str) -> Option<String> {
    let bare = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority: http::uri::Authority = bare.trim_end_matches('/').parse().ok()?;
    let port = authority.port_u16().unwrap_or(API_PORT_DEFAULT).checked_add(1)?;
    (!authority.host().is_empty()).then(|| format!("{}:{port}", authority.host()))
}

/// Of a URL without one.
const API_PORT_DEFAULT: u16 = 8200;

#[derive(Serialize)]
struct Initialized {
    initialized: bool,
}

#[derive(Serialize)]
struct Initialization<'a> {
    keys: Vec<&'a str>,
    keys_base64: Vec<&'a str>,
    root_token: &'a str,
}

#[derive(Serialize)]
struct Joined {
    joined: bool,
}

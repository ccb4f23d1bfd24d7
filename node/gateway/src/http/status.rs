//! What the node says of itself, in every state and without a token.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde::Serialize;

use super::head::{self, Query};
use super::{Answer, HttpDoor, json_answer, require_method};
use crate::inbound::Inbound;
use crate::refusal::Refusal;
use crate::{API_VERSION, NodeStatus};

impl HttpDoor {
    /// `sys/health`: the status code is the answer, and load balancers choose their own.
    pub(super) fn health(&self, request: &Request<Inbound>) -> Answer {
        require_method(request.method(), &[Method::GET, Method::HEAD])?;
        let status = self.caller.service.status();
        let code = health_code(&status, &head::query(request.uri())?)?;
        let body = to_json(&Health {
            initialized: status.initialized,
            sealed: status.sealed,
            standby: !leads(&status),
            performance_standby: false,
            replication_performance_mode: "disabled",
            replication_dr_mode: "disabled",
            server_time_utc: self.ports.clock.wall_ms() / 1000,
            version: API_VERSION,
            cluster_name: &status.cluster_name,
            cluster_id: &status.cluster_id,
            reason: &status.reason,
        })?;
        let bodiless = code == StatusCode::NO_CONTENT || code == StatusCode::NOT_MODIFIED;
        Ok(json_answer(code, if bodiless { Bytes::new() } else { body }))
    }

    /// `sys/seal-status`.
    pub(super) fn seal_status(&self, request: &Request<Inbound>) -> Answer {
        require_method(request.method(), &[Method::GET])?;
        Ok(json_answer(StatusCode::OK, seal_status_json(&self.caller.service.status())?))
    }

    /// `sys/leader`.
    pub(super) fn leader(&self, request: &Request<Inbound>) -> Answer {
        require_method(request.method(), &[Method::GET])?;
        let status = self.caller.service.status();
        let body = to_json(&Leader {
            ha_enabled: true,
            is_self: leads(&status),
            active_time: "0001-01-01T00:00:00Z",
            leader_address: &status.leader_api_addr,
            leader_cluster_address: &status.leader_cluster_addr,
            performance_standby: false,
            performance_standby_last_remote_wal: 0,
            raft_committed_index: status.committed_index,
            raft_applied_index: status.applied_index,
        })?;
        Ok(json_answer(StatusCode::OK, body))
    }
}

/// The body of `seal-status`, which `unseal` answers too.
pub(super) fn seal_status_json(status: &NodeStatus) -> Result<Bytes, Refusal> {
    to_json(&SealStatus {
        kind: &status.seal_type,
        initialized: status.initialized,
        sealed: status.sealed,
        threshold: status.threshold,
        shares: status.shares,
        progress: status.progress,
        nonce: &status.nonce,
        version: API_VERSION,
        build_date: "",
        migration: false,
        cluster_name: &status.cluster_name,
        cluster_id: &status.cluster_id,
        recovery_seal: opens_by_itself(status),
        storage_type: "raft",
        reason: &status.reason,
    })
}

/// Whether the shares are a recovery key's, because a machine holds the seal key.
fn opens_by_itself(status: &NodeStatus) -> bool {
    !matches!(status.seal_type.as_str(), "" | "shamir")
}

/// Whether this node leads, and others would agree: a leader that was cut off learns of its
/// successor late.
fn leads(status: &NodeStatus) -> bool {
    let is_leader = status.node_id != 0 && status.node_id == status.leader_id;
    is_leader && status.has_quorum && !status.sealed
}

/// The status code for this state, or the one that the query puts in its place.
fn health_code(status: &NodeStatus, query: &Query) -> Result<StatusCode, Refusal> {
    let standby_is_ok = ["standbyok", "perfstandbyok"]
        .iter()
        .any(|name| query.get(*name).is_some_and(|value| value.is_empty() || head::is_true(value)));
    let (parameter, default) = if !status.initialized {
        ("uninitcode", 501)
    } else if status.sealed || status.quarantined {
        ("sealedcode", 503)
    } else if leads(status) {
        ("activecode", 200)
    } else if status.leader_id == 0 || !status.has_quorum {
        // There is no leader to hand a write to, or none that could commit it.
        ("haunhealthycode", 474)
    } else if standby_is_ok {
        ("activecode", 200)
    } else {
        ("standbycode", 429)
    };
    let code = match query.get(parameter) {
        None => default,
        // Codes below 200 are no answers, and a client would wait for one.
        Some(text) => {
            text.parse().ok().filter(|code| (200..=599).contains(code)).ok_or_else(|| {
                Refusal::invalid(format!(
                    "the parameter {parameter} must be a status from 200 to 599"
                ))
            })?
        }
    };
    StatusCode::from_u16(code).map_err(|_| Refusal::internal("a health code is out of range"))
}

/// `value` as a JSON line.
pub(super) fn to_json(value: &impl Serialize) -> Result<Bytes, Refusal> {
    let mut out = serde_json::to_vec(value)
        .map_err(|_| Refusal::internal("an answer cannot be written as JSON"))?;
    out.push(b'\n');
    Ok(out.into())
}

#[derive(Serialize)]
struct Health<'a> {
    initialized: bool,
    sealed: bool,
    standby: bool,
    performance_standby: bool,
    replication_performance_mode: &'static str,
    replication_dr_mode: &'static str,
    server_time_utc: u64,
    version: &'static str,
    cluster_name: &'a str,
    cluster_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

#[derive(Serialize)]
struct SealStatus<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    initialized: bool,
    sealed: bool,
    #[serde(rename = "t")]
    threshold: u8,
    #[serde(rename = "n")]
    shares: u8,
    progress: u8,
    nonce: &'a str,
    version: &'static str,
    build_date: &'static str,
    migration: bool,
    cluster_name: &'a str,
    cluster_id: &'a str,
    recovery_seal: bool,
    storage_type: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

#[derive(Serialize)]
struct Leader<'a> {
    ha_enabled: bool,
    is_self: bool,
    active_time: &'static str,
    leader_address: &'a str,
    leader_cluster_address: &'a str,
    performance_standby: bool,
    performance_standby_last_remote_wal: u64,
    raft_committed_index: u64,
    raft_applied_index: u64,
}

//! A token as clients see it.

use std::collections::BTreeMap;

use bytes::Bytes;
use conclave_mount::format_time;
use serde::Serialize;

use crate::token::TokenRecord;
use crate::{Error, Response};

/// `data` of a lookup.
#[derive(Serialize)]
pub(super) struct LookupView<'a> {
    accessor: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    bound_cidrs: &'a [String],
    /// Seconds since the epoch.
    creation_time: u64,
    creation_ttl: u64,
    display_name: &'a str,
    entity_id: &'a str,
    expire_time: Option<String>,
    explicit_max_ttl: u64,
    /// Empty where the token was named by its accessor.
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issue_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal_time: Option<u64>,
    meta: Option<&'a BTreeMap<String, String>>,
    num_uses: u64,
    orphan: bool,
    path: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    period: u64,
    policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    renewable: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    role: &'a str,
    ttl: u64,
    #[serde(rename = "type")]
    kind: &'a str,
}

impl<'a> LookupView<'a> {
    pub(super) fn new(id: &'a str, record: &'a TokenRecord, now_ms: u64) -> Self {
        let ends = record.expires_ms > 0;
        let renewed = record.renewed_ms > 0;
        Self {
            accessor: &record.accessor,
            bound_cidrs: &record.bound_cidrs,
            creation_time: record.created_ms / 1000,
            creation_ttl: record.ttl_ms / 1000,
            display_name: &record.display_name,
            entity_id: "",
            expire_time: ends.then(|| format_time(record.expires_ms)),
            explicit_max_ttl: record.explicit_max_ttl_ms / 1000,
            id,
            issue_time: ends.then(|| format_time(record.created_ms)),
            last_renewal: renewed.then(|| format_time(record.renewed_ms)),
            last_renewal_time: renewed.then_some(record.renewed_ms / 1000),
            meta: (!record.metadata.is_empty()).then_some(&record.metadata),
            num_uses: record.uses_left,
            orphan: record.is_orphan(),
            path: &record.path,
            period: record.period_ms / 1000,
            policies: &record.policies,
            renewable: ends.then_some(record.renewable),
            role: &record.role,
            ttl: record.ttl_s(now_ms),
            kind: kind(record),
        }
    }
}

fn kind(record: &TokenRecord) -> &'static str {
    if record.is_batch() { "batch" } else { "service" }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

/// `auth` of an answer that makes or renews a token.
#[derive(Serialize)]
struct AuthView<'a> {
    client_token: &'a str,
    accessor: &'a str,
    policies: &'a [String],
    token_policies: &'a [String],
    metadata: Option<&'a BTreeMap<String, String>>,
    lease_duration: u64,
    renewable: bool,
    entity_id: &'a str,
    token_type: &'a str,
    orphan: bool,
    mfa_requirement: Option<()>,
    num_uses: u64,
}

/// An answer that hands out a token, or says how long it lives now.
pub(crate) fn granted(
    text: &str,
    record: &TokenRecord,
    warnings: Vec<String>,
    now_ms: u64,
) -> Result<Response, Error> {
    let view = AuthView {
        client_token: text,
        accessor: &record.accessor,
        policies: &record.policies,
        token_policies: &record.policies,
        metadata: (!record.metadata.is_empty()).then_some(&record.metadata),
        lease_duration: record.ttl_s(now_ms),
        renewable: record.renewable,
        entity_id: "",
        token_type: kind(record),
        orphan: record.is_orphan(),
        mfa_requirement: None,
        num_uses: record.uses_left,
    };
    let auth = serde_json::to_vec(&view)
        .map_err(|_| Error::internal("a token's view cannot be written as JSON"))?;
    Ok(Response { auth: Some(Bytes::from(auth)), warnings, ..Response::default() })
}

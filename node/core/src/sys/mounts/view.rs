//! A mount as clients see it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::lock_out::LockOutRecord;
use crate::mounts::MountRecord;
use crate::uuid::format_uuid;

/// A mount.
#[derive(Serialize)]
pub(super) struct MountView<'a> {
    accessor: &'a str,
    config: ConfigView<'a>,
    deprecation_status: &'a str,
    description: &'a str,
    external_entropy_access: bool,
    local: bool,
    /// `null` where there are none, as old clients expect.
    options: Option<&'a BTreeMap<String, String>>,
    plugin_version: &'a str,
    running_plugin_version: &'a str,
    running_sha256: &'a str,
    seal_wrap: bool,
    #[serde(rename = "type")]
    kind: &'a str,
    uuid: String,
}

/// Zero means the system's default, as clients know it.
#[derive(Serialize)]
struct ConfigView<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed_response_headers: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audit_non_hmac_request_keys: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audit_non_hmac_response_keys: &'a [String],
    default_lease_ttl: u64,
    force_no_cache: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    listing_visibility: &'a str,
    max_lease_ttl: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    passthrough_request_headers: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_lockout_config: Option<LockOutView>,
}

/// When failed logins lock out, in seconds.
#[derive(Serialize)]
pub(super) struct LockOutView {
    user_lockout_counter_reset_duration: u64,
    user_lockout_disable: bool,
    user_lockout_duration: u64,
    user_lockout_threshold: u64,
}

impl LockOutView {
    pub(super) fn new(own: &LockOutRecord) -> Self {
        Self {
            user_lockout_counter_reset_duration: own.counter_reset_ms() / 1000,
            user_lockout_disable: own.disabled,
            user_lockout_duration: own.duration_ms() / 1000,
            user_lockout_threshold: own.threshold(),
        }
    }
}

impl<'a> MountView<'a> {
    pub(super) fn new(mount: &'a MountRecord) -> Self {
        let kind = if mount.token_type.is_empty() { "default-service" } else { &mount.token_type };
        Self {
            accessor: &mount.accessor,
            config: ConfigView {
                allowed_response_headers: &mount.allowed_response_headers,
                audit_non_hmac_request_keys: &mount.audit_non_hmac_request_keys,
                audit_non_hmac_response_keys: &mount.audit_non_hmac_response_keys,
                default_lease_ttl: mount.default_lease_ttl_ms / 1000,
                force_no_cache: false,
                listing_visibility: &mount.listing_visibility,
                max_lease_ttl: mount.max_lease_ttl_ms / 1000,
                passthrough_request_headers: &mount.passthrough_request_headers,
                token_type: mount.is_auth().then_some(kind),
                user_lockout_config: mount.lock_out.as_ref().map(LockOutView::new),
            },
            deprecation_status: "supported",
            description: &mount.description,
            external_entropy_access: false,
            local: mount.local,
            options: (!mount.options.is_empty()).then_some(&mount.options),
            plugin_version: "",
            running_plugin_version: env!("CARGO_PKG_VERSION"),
            running_sha256: "",
            seal_wrap: mount.seal_wrap,
            kind: &mount.kind,
            uuid: format_uuid(&mount.id().0),
        }
    }
}

/// What looks like a mount and is the core itself.
pub(super) struct BuiltIn {
    kind: &'static str,
    accessor: &'static str,
    description: &'static str,
}

impl BuiltIn {
    pub(super) fn of(&self) -> MountView<'static> {
        MountView {
            accessor: self.accessor,
            config: ConfigView {
                allowed_response_headers: &[],
                audit_non_hmac_request_keys: &[],
                audit_non_hmac_response_keys: &[],
                default_lease_ttl: 0,
                force_no_cache: false,
                listing_visibility: "",
                max_lease_ttl: 0,
                passthrough_request_headers: &[],
                token_type: (self.kind == "token").then_some("default-service"),
                user_lockout_config: None,
            },
            deprecation_status: "supported",
            description: self.description,
            external_entropy_access: false,
            local: false,
            options: None,
            plugin_version: "",
            running_plugin_version: env!("CARGO_PKG_VERSION"),
            running_sha256: "",
            seal_wrap: false,
            kind: self.kind,
            uuid: format_uuid(&[0; 16]),
        }
    }
}

pub(super) const SYSTEM: [(&str, BuiltIn); 2] = [
    (
        "identity/",
        BuiltIn {
            kind: "identity",
            accessor: "identity_00000001",
            description: "who is behind tokens",
        },
    ),
    (
        "sys/",
        BuiltIn {
            kind: "system",
            accessor: "system_00000001",
            description: "control, policy and debugging",
        },
    ),
];

pub(super) const TOKEN: BuiltIn = BuiltIn {
    kind: "token",
    accessor: "auth_token_00000001",
    description: "token based credentials",
};

//! Reading and changing the settings of a mount.

use std::collections::BTreeMap;

use conclave_mount::fields::{DurationMs, Flag, Object, TextList, TextMap, Whole, present};
use conclave_mount::{BodyFields, word};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::view::LockOutView;
use super::{not_mounted, path};
use crate::lock_out::{DURATION_MS_MAX, LockOutRecord, THRESHOLD_MAX};
use crate::mounts::MountRecord;
use crate::routes::Ask;
use crate::{Error, Response};

pub(in crate::sys) const TUNING: BodyFields = BodyFields::of::<Tuning>(&[
    word("default_lease_ttl", "How long what is handed out lives where nobody says."),
    word("max_lease_ttl", "How long it lives at the most."),
    word(
        "listing_visibility",
        "`unauth` shows the mount to everybody, `hidden` to those with rights in it.",
    ),
    word("audit_non_hmac_request_keys", "Fields of requests that audit logs show in clear."),
    word("audit_non_hmac_response_keys", "Fields of answers that audit logs show in clear."),
    word("passthrough_request_headers", "Headers that the mount is shown."),
    word("allowed_response_headers", "Headers that the mount may answer with."),
    word("token_type", "Which tokens a login yields where the user or role does not say."),
    word("user_lockout_config", "When failed logins lock a name out."),
    word("force_no_cache", "Changes nothing: nothing is cached."),
    word("plugin_name", "Changes nothing: there are no plugins."),
    word("description", "For a reader."),
    word("options", "Settings of this type of mount: texts by name."),
]);

/// Settings that a mount can be enabled with and tuned to. What is absent stays as it is.
#[derive(Default, Deserialize)]
pub(super) struct Tuning {
    #[serde(default, deserialize_with = "lifetime")]
    default_lease_ttl: Option<DurationMs>,
    #[serde(default, deserialize_with = "lifetime")]
    max_lease_ttl: Option<DurationMs>,
    listing_visibility: Option<String>,
    audit_non_hmac_request_keys: Option<TextList>,
    audit_non_hmac_response_keys: Option<TextList>,
    passthrough_request_headers: Option<TextList>,
    allowed_response_headers: Option<TextList>,
    token_type: Option<String>,
    user_lockout_config: Option<Object<LockOutBody>>,
    #[serde(rename = "force_no_cache")]
    _force_no_cache: Option<Flag>,
    #[serde(rename = "plugin_name")]
    _plugin_name: Option<String>,
    description: Option<String>,
    options: Option<TextMap>,
}

impl Tuning {
    pub(super) fn apply(self, mount: &mut MountRecord) -> Result<(), Error> {
        let ms = |place: &mut u64, asked: Option<DurationMs>| {
            if let Some(DurationMs(ms)) = asked {
                *place = ms;
            }
        };
        let list = |place: &mut Vec<String>, asked: Option<TextList>| {
            if let Some(TextList(texts)) = asked {
                *place = texts;
            }
        };
        ms(&mut mount.default_lease_ttl_ms, self.default_lease_ttl);
        ms(&mut mount.max_lease_ttl_ms, self.max_lease_ttl);
        list(&mut mount.audit_non_hmac_request_keys, self.audit_non_hmac_request_keys);
        list(&mut mount.audit_non_hmac_response_keys, self.audit_non_hmac_response_keys);
        list(&mut mount.passthrough_request_headers, self.passthrough_request_headers);
        list(&mut mount.allowed_response_headers, self.allowed_response_headers);
        if let Some(visibility) = self.listing_visibility {
            mount.listing_visibility = check_visibility(visibility)?;
        }
        if let Some(kind) = self.token_type {
            mount.token_type = check_token_type(mount, kind)?;
        }
        if let Some(Object(body)) = self.user_lockout_config {
            mount.lock_out = Some(body.apply(mount)?);
        }
        if let Some(description) = self.description {
            mount.description = description;
        }
        if let Some(TextMap(options)) = self.options {
            set_options(mount, options)?;
        }
        let (default_ms, max_ms) = (mount.default_lease_ttl_ms, mount.max_lease_ttl_ms);
        if max_ms > 0 && default_ms > max_ms {
            return Err(Error::invalid(
                "default_lease_ttl is above max_lease_ttl; lower it, or raise the other",
            ));
        }
        Ok(())
    }
}

/// A lifetime of tokens and leases. Vault's Go client sends an empty text for one that its caller
/// left out, and `system` for the default.
fn lifetime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DurationMs>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text == "system" => Ok(Some(DurationMs(0))),
        Some(value) => DurationMs::deserialize(value).map(Some).map_err(D::Error::custom),
    }
}

/// When failed logins lock a name out; 0 stands for the default.
#[derive(Default, Deserialize)]
struct LockOutBody {
    #[serde(default, deserialize_with = "present")]
    lockout_threshold: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    lockout_duration: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    lockout_counter_reset_duration: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    lockout_disable: Option<Flag>,
}

impl LockOutBody {
    fn apply(self, mount: &MountRecord) -> Result<LockOutRecord, Error> {
        if !mount.is_auth() {
            return Err(Error::invalid("'user_lockout_config' can only be tuned on auth mounts"));
        }
        let mut tuned = mount.lock_out.unwrap_or_default();
        if let Some(Whole(threshold)) = self.lockout_threshold {
            tuned.threshold = threshold;
        }
        if let Some(DurationMs(ms)) = self.lockout_duration {
            tuned.duration_ms = ms;
        }
        if let Some(DurationMs(ms)) = self.lockout_counter_reset_duration {
            tuned.counter_reset_ms = ms;
        }
        if let Some(Flag(disabled)) = self.lockout_disable {
            tuned.disabled = disabled;
        }
        if tuned.threshold > THRESHOLD_MAX {
            return Err(Error::invalid(format!(
                "'lockout_threshold' is at most {THRESHOLD_MAX}; lower it, or set 'lockout_disable'"
            )));
        }
        if tuned.duration_ms.max(tuned.counter_reset_ms) > DURATION_MS_MAX {
            return Err(Error::invalid(format!(
                "a lock-out lasts at most {} days; shorten it",
                DURATION_MS_MAX / (24 * 3600 * 1000)
            )));
        }
        Ok(tuned)
    }
}

fn check_visibility(visibility: String) -> Result<String, Error> {
    match visibility.as_str() {
        "" | "hidden" | "unauth" => Ok(visibility),
        _ => Err(Error::invalid("listing_visibility is 'hidden' or 'unauth'; send one of them")),
    }
}

fn check_token_type(mount: &MountRecord, kind: String) -> Result<String, Error> {
    if !mount.is_auth() {
        return Err(Error::invalid("'token_type' can only be modified on auth mounts"));
    }
    match kind.as_str() {
        "default-service" | "default-batch" | "service" | "batch" => Ok(kind),
        _ => Err(Error::invalid("invalid value for 'token_type'")),
    }
}

/// The version of a KV mount decides how its rows are read, so it does not change under them.
fn set_options(mount: &mut MountRecord, options: BTreeMap<String, String>) -> Result<(), Error> {
    let version = |options: &BTreeMap<String, String>| {
        options.get("version").map_or("1", String::as_str).to_owned()
    };
    let asked = options.contains_key("version");
    if mount.kind == "kv" && asked && version(&options) != version(&mount.options) {
        return Err(Error::invalid(
            "the version of a mount with secrets in it cannot be changed; enable another mount \
             and move them",
        ));
    }
    mount.options.extend(options);
    Ok(())
}

pub(in crate::sys) fn write(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let path = path(ask);
    let Object(tuning): Object<Tuning> = ask.request.parse()?;
    let table = ask.core.mounts.at(ask.tx)?;
    let mount = table.get(&path).ok_or_else(|| not_mounted(&path))?;
    if mount.is_built_in() {
        return Err(Error::invalid(format!("{path:?} is part of every cluster and as it is")));
    }
    let mut tuned = MountRecord::clone(mount);
    tuning.apply(&mut tuned)?;
    table.rewrite(ask.tx, |mounts| {
        if let Some(place) = mounts.iter_mut().find(|mount| mount.path == path) {
            *place = tuned;
        }
    })?;
    Ok(Response::empty())
}

pub(in crate::sys) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let path = path(ask);
    let table = ask.core.mounts.at(ask.tx)?;
    let built_in = MountRecord { path: path.clone(), ..MountRecord::default() };
    let mount = match table.get(&path) {
        Some(mount) => mount,
        None if ["sys/", "identity/", "auth/token/"].contains(&path.as_str()) => &built_in,
        None => return Err(not_mounted(&path)),
    };
    let view = mount.view();
    Response::json(&TuningView {
        allowed_response_headers: &mount.allowed_response_headers,
        audit_non_hmac_request_keys: &mount.audit_non_hmac_request_keys,
        audit_non_hmac_response_keys: &mount.audit_non_hmac_response_keys,
        default_lease_ttl: view.default_lease_ttl_ms / 1000,
        description: &mount.description,
        force_no_cache: false,
        listing_visibility: &mount.listing_visibility,
        max_lease_ttl: view.max_lease_ttl_ms / 1000,
        options: (!mount.options.is_empty()).then_some(&mount.options),
        passthrough_request_headers: &mount.passthrough_request_headers,
        token_type: mount.is_auth().then_some(match mount.token_type.as_str() {
            "" => "default-service",
            kind => kind,
        }),
        user_lockout: mount.lock_out.as_ref().map(LockOutView::new),
    })
}

#[derive(Serialize)]
struct TuningView<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed_response_headers: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audit_non_hmac_request_keys: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audit_non_hmac_response_keys: &'a [String],
    default_lease_ttl: u64,
    description: &'a str,
    force_no_cache: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    listing_visibility: &'a str,
    max_lease_ttl: u64,
    options: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    passthrough_request_headers: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    #[serde(flatten)]
    user_lockout: Option<LockOutView>,
}

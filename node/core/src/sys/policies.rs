//! `sys/policies/acl` and its old spelling `sys/policy`.

use std::collections::BTreeMap;

use conclave_mount::fields::{DurationMs, Flag, Object};
use conclave_mount::{BodyFields, Kind, format_time, word};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::policies::{self, NAME_BYTES_MAX, PolicyRecord, TEXT_BYTES_MAX};
use crate::policy::Policy;
use crate::routes::Ask;
use crate::token::{DEFAULT_POLICY, ROOT_POLICY};
use crate::{Error, ErrorCode, Response};

/// All texts in one answer.
const DETAILS_BYTES_MAX: usize = 8 << 20;

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let keys = policies::names(ask.tx)?;
    Response::json(&json!({"keys": keys}))
}

/// Old clients look for `policies`.
pub(super) fn list_old(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let keys = policies::names(ask.tx)?;
    Response::json(&json!({"keys": keys, "policies": keys}))
}

/// Every policy with its text.
pub(super) fn list_detailed(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let keys = policies::names(ask.tx)?;
    let (mut views, mut bytes) = (BTreeMap::new(), 0);
    for name in &keys {
        let record = match name.as_str() {
            ROOT_POLICY => Some(PolicyRecord::default()),
            _ => policies::load(ask.tx, name, ask.call.now_ms)?,
        };
        let Some(record) = record else { continue };
        bytes += record.text.len();
        if bytes > DETAILS_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the texts of all policies have more than {DETAILS_BYTES_MAX} bytes; list the \
                 names and read what is wanted"
            )));
        }
        views.insert(name.as_str(), View::new(name, "policy", &record).0);
    }
    let keys: Vec<_> = views.keys().collect();
    Response::json(&json!({"keys": keys, "key_info": views}))
}

pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    show(ask, "policy")
}

/// Old clients look for `rules`.
pub(super) fn read_old(ask: &mut Ask<'_>) -> Result<Response, Error> {
    show(ask, "rules")
}

fn show(ask: &mut Ask<'_>, field: &str) -> Result<Response, Error> {
    let name = ask.name().to_owned();
    if name == ROOT_POLICY {
        return Response::json(&json!({"name": name, field: ""}));
    }
    let record = policies::load(ask.tx, &name, ask.call.now_ms)?.ok_or_else(Error::not_found)?;
    Response::json(&View::new(&name, field, &record).0)
}

/// A policy as it is shown.
struct View(Value);

impl View {
    fn new(name: &str, field: &str, record: &PolicyRecord) -> Self {
        let mut view = json!({
            "name": name,
            field: record.text,
            "version": record.version,
            "cas_required": record.cas_required,
        });
        if record.modified_ms > 0 {
            view["modified"] = format_time(record.modified_ms).into();
        }
        if record.expires_ms > 0 {
            view["expiration"] = format_time(record.expires_ms).into();
        }
        Self(view)
    }
}

/// Writes a policy whole: what the body does not name is as it is for a new one.
pub(super) fn write(ask: &mut Ask<'_>) -> Result<Response, Error> {
    change(ask, |_| Ok(PolicyRecord::default()))
}

/// Changes what the body names of a policy that is there.
pub(super) fn patch(ask: &mut Ask<'_>) -> Result<Response, Error> {
    change(ask, |known| known.ok_or_else(Error::not_found))
}

fn change(
    ask: &mut Ask<'_>,
    base: fn(Option<PolicyRecord>) -> Result<PolicyRecord, Error>,
) -> Result<Response, Error> {
    let name = changeable(ask, "update")?;
    let Object(body) = ask.request.parse::<Object<Body>>()?;
    let now_ms = ask.call.now_ms;
    let known = policies::load(ask.tx, &name, now_ms)?;
    body.check_version(known.as_ref())?;
    let base = base(known)?;
    let text = if body.has_text() || base.text.is_empty() { body.text()? } else { base.text };
    Policy::parse(&name, &text).map_err(|error| Error::invalid(error.to_string()))?;
    let record = PolicyRecord {
        text,
        modified_ms: now_ms,
        version: 0,
        cas_required: body.cas_required.map_or(base.cas_required, |Flag(required)| required),
        expires_ms: body.expires_ms(now_ms)?.unwrap_or(base.expires_ms),
    };
    policies::put(ask.tx, &name, record)?;
    Ok(Response::empty())
}

/// What is legal in a policy's text and yet hardly meant. Stores nothing.
pub(super) fn lint(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(LintBody { policy, rules }) = ask.request.parse()?;
    let text = text(policy.as_ref().or(rules.as_ref()))?;
    let policy =
        Policy::parse("policy", &text).map_err(|error| Error::invalid(error.to_string()))?;
    let doubts: Vec<_> = policy
        .warnings()
        .into_iter()
        .map(|warning| {
            json!({
                "line": warning.position.line,
                "column": warning.position.column,
                "path": warning.path,
                "message": warning.doubt.to_string(),
            })
        })
        .collect();
    Response::json(&json!({"doubts": doubts}))
}

pub(super) fn delete(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = changeable(ask, "delete")?;
    if name == DEFAULT_POLICY {
        return Err(Error::invalid("cannot delete \"default\" policy"));
    }
    policies::delete(ask.tx, &name)?;
    Ok(Response::empty())
}

/// The name in the path, unless nobody may change it.
fn changeable(ask: &Ask<'_>, verb: &str) -> Result<String, Error> {
    let name = ask.name().to_owned();
    if name == ROOT_POLICY {
        return Err(Error::invalid(format!("cannot {verb} \"root\" policy")));
    }
    if !policies::is_name(&name) {
        return Err(Error::invalid(format!(
            "a policy's name may have {NAME_BYTES_MAX} bytes and some slashes; choose a shorter one"
        )));
    }
    Ok(name)
}

/// A policy's text as it was sent.
fn text(text: Option<&String>) -> Result<String, Error> {
    let text = text.filter(|text| !text.trim().is_empty()).ok_or_else(|| {
        Error::invalid("'policy' parameter not supplied or empty; send the policy's text in it")
    })?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a policy may have {TEXT_BYTES_MAX} bytes; split it into several"
        )));
    }
    Ok(decode(text.clone()))
}

/// Clients may send the text in Base64.
pub(super) fn decode(text: String) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let decoded = STANDARD.decode(text.trim()).ok();
    decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

pub(super) const POLICY: BodyFields = BodyFields::of::<Body>(&[
    word("policy", "The policy's text, HCL or JSON, plain or in base64."),
    word("rules", "Old name of `policy`."),
    word("expiration", "When it ends, as a time: 2030-01-02T15:04:05Z."),
    word("ttl", "In how long it ends, in place of `expiration`."),
    word("cas", "The version that must be there; -1 where there must be none.").holds(Kind::Whole),
    word("cas_required", "Whether this write and the next must have `cas`."),
]);

pub(super) const LINT: BodyFields = BodyFields::of::<LintBody>(&[
    word("policy", "The policy's text, HCL or JSON, plain or in base64."),
    word("rules", "Old name of `policy`."),
]);

#[derive(Deserialize)]
struct LintBody {
    policy: Option<String>,
    rules: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    policy: Option<String>,
    rules: Option<String>,
    expiration: Option<String>,
    ttl: Option<DurationMs>,
    cas: Option<Value>,
    cas_required: Option<Flag>,
}

impl Body {
    fn has_text(&self) -> bool {
        self.policy.is_some() || self.rules.is_some()
    }

    fn text(&self) -> Result<String, Error> {
        text(self.policy.as_ref().or(self.rules.as_ref()))
    }

    /// Whether the policy is still the one that the caller has seen, where one of them asks for that.
    fn check_version(&self, known: Option<&PolicyRecord>) -> Result<(), Error> {
        let is_required = matches!(self.cas_required, Some(Flag(true)))
            || known.is_some_and(|known| known.cas_required);
        let Some(cas) = &self.cas else {
            return match is_required {
                true => Err(cas_mismatch("check-and-set parameter required for this call")),
                false => Ok(()),
            };
        };
        let number = cas.as_i64().or_else(|| cas.as_str()?.parse().ok());
        let number = number.ok_or_else(|| Error::invalid("'cas' must be a whole number"))?;
        let version = known.map_or(Some(-1), |known| i64::try_from(known.version).ok());
        match version == Some(number) {
            true => Ok(()),
            false => Err(cas_mismatch("check-and-set parameter did not match the current version")),
        }
    }

    /// When it ends; none where nothing is said about that.
    fn expires_ms(&self, now_ms: u64) -> Result<Option<u64>, Error> {
        let end_ms = match (&self.expiration, self.ttl) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("send 'expiration' or 'ttl', not both"));
            }
            (Some(time), None) => {
                let time = time.parse::<jiff::Timestamp>().ok();
                let time = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
                time.ok_or_else(|| {
                    Error::invalid("'expiration' must be a time like 2030-01-02T15:04:05Z")
                })?
            }
            (None, Some(DurationMs(ttl_ms))) => now_ms.saturating_add(ttl_ms),
            (None, None) => return Ok(None),
        };
        match end_ms > now_ms {
            true => Ok(Some(end_ms)),
            false => Err(Error::invalid("a policy cannot end in the past; choose a later time")),
        }
    }
}

fn cas_mismatch(message: &str) -> Error {
    Error::new(ErrorCode::CasMismatch, message)
}

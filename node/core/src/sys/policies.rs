//! `sys/policies/acl` and its old spelling `sys/policy`.

use conclave_mount::fields::Object;
use serde::Deserialize;
use serde_json::json;

use crate::policies::{self, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::policy::Policy;
use crate::routes::Ask;
use crate::token::{DEFAULT_POLICY, ROOT_POLICY};
use crate::{Error, Response};

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let keys = policies::names(ask.tx)?;
    Response::json(&json!({"keys": keys}))
}

/// Old clients look for `policies`.
pub(super) fn list_old(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let keys = policies::names(ask.tx)?;
    Response::json(&json!({"keys": keys, "policies": keys}))
}

pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    show(ask, "policy")
}

/// Old clients look for `rules`.
pub(super) fn read_old(ask: &mut Ask<'_>) -> Result<Response, Error> {
    show(ask, "rules")
}

fn show(ask: &mut Ask<'_>, field: &str) -> Result<Response, Error> {
    let name = ask.name().to_lowercase();
    if name == ROOT_POLICY {
        return Response::json(&json!({"name": name, field: ""}));
    }
    let record = policies::load(ask.tx, &name)?.ok_or_else(Error::not_found)?;
    Response::json(&json!({"name": name, field: record.text}))
}

pub(super) fn write(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = changeable(ask, "update")?;
    let text = text(ask)?;
    Policy::parse(&name, &text).map_err(|error| Error::invalid(error.to_string()))?;
    policies::put(ask.tx, &name, text, ask.call.now_ms)?;
    Ok(Response::empty())
}

/// What is legal in a policy's text and yet hardly meant. Stores nothing.
pub(super) fn lint(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let text = text(ask)?;
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

/// The policy's text in the body.
fn text(ask: &Ask<'_>) -> Result<String, Error> {
    let Object(Body { policy, rules }) = ask.request.parse()?;
    let text = policy.or(rules).filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| {
        Error::invalid("'policy' parameter not supplied or empty; send the policy's text in it")
    })?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a policy may have {TEXT_BYTES_MAX} bytes; split it into several"
        )));
    }
    Ok(decode(text))
}

pub(super) fn delete(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = changeable(ask, "delete")?;
    if name == DEFAULT_POLICY {
        return Err(Error::invalid("cannot delete \"default\" policy"));
    }
    policies::delete(ask.tx, &name)?;
    Ok(Response::empty())
}

/// The name in the path, in lower case, unless nobody may change it.
fn changeable(ask: &Ask<'_>, verb: &str) -> Result<String, Error> {
    let name = ask.name().to_lowercase();
    if name == ROOT_POLICY {
        return Err(Error::invalid(format!("cannot {verb} \"root\" policy")));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a policy's name may have {NAME_BYTES_MAX} bytes; choose a shorter one"
        )));
    }
    Ok(name)
}

/// Clients may send the text in Base64.
pub(super) fn decode(text: String) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let decoded = STANDARD.decode(text.trim()).ok();
    decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

#[derive(Deserialize)]
struct Body {
    policy: Option<String>,
    rules: Option<String>,
}

//! KV version 1: secrets without a history, at the path that their writer gives.
//!
//! A secret may say in a field `ttl` or `lease` for how long its readers should keep it; nothing
//! ends then.

#[cfg(test)]
mod tests;

use conclave_mount::fields::DurationMs;
use conclave_mount::{EngineError, Operation, Request, Response, Route, Storage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::plain;

/// Serves a mount whose option `version` is absent or 1.
pub(crate) fn serve(request: &Request, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let visible = |name: &str| is_visible(request, name);
    let mut response = plain::serve(request, storage, SECRETS, &visible)?;
    if request.operation == Operation::Read {
        let data = response.data.as_deref().unwrap_or_default();
        response.keep_ms = keep_ms(data).unwrap_or(request.mount.default_lease_ttl_ms);
    }
    Ok(response)
}

/// Whether a write replaces something.
pub(crate) fn exists(request: &Request, storage: &mut dyn Storage) -> Result<bool, EngineError> {
    plain::exists(request, storage, SECRETS)
}

/// What the secret itself says. A text without a meaning says nothing.
fn keep_ms(data: &[u8]) -> Option<u64> {
    let hint: Hint<'_> = serde_json::from_slice(data).ok()?;
    let DurationMs(ms) = serde_json::from_str(hint.ttl.or(hint.lease)?.get()).ok()?;
    Some(ms)
}

/// With the mount's option `list_filter`, a name is shown to who may read it, a directory to who
/// may list it.
fn is_visible(request: &Request, name: &str) -> bool {
    if !plain::filters_lists(&request.mount.options) {
        return true;
    }
    let path = format!("{}{name}", request.path);
    let may = |operation| {
        request.caller.rights.as_ref().is_some_and(|rights| rights.may(operation, &path))
    };
    match name.ends_with('/') {
        true => may(Operation::List) || may(Operation::Scan),
        false => may(Operation::Read),
    }
}

#[derive(Deserialize)]
struct Hint<'a> {
    #[serde(borrow, default)]
    ttl: Option<&'a RawValue>,
    #[serde(borrow, default)]
    lease: Option<&'a RawValue>,
}

pub(crate) const ROUTES: &[Route] = plain::ROUTES;

/// The directory of secrets.
const SECRETS: &str = "secrets";

//! Moving a mount to another path: one row changes, whatever is in it.

use conclave_mount::fields::Object;
use conclave_mount::{BodyFields, word};
use serde::Deserialize;
use serde_json::json;

use super::{check_path, not_mounted};
use crate::canonical::CanonicalPath;
use crate::mounts::AUTH_PREFIX;
use crate::routes::Ask;
use crate::{Error, Operation, Response, quotas};

/// The move is done when this answers; the id is for clients that ask how far it is.
pub(in crate::sys) fn remount(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(Body { from, to }) = ask.request.parse()?;
    let (from, to) = (with_slash(from, "from")?, with_slash(to, "to")?);
    check_path(&from)?;
    check_path(&to)?;
    CanonicalPath::new(&to, Operation::List)?;
    if from.starts_with(AUTH_PREFIX) != to.starts_with(AUTH_PREFIX) {
        return Err(Error::invalid(
            "a secrets engine stays one and an auth method stays one; choose another path",
        ));
    }
    let table = ask.core.mounts.at(ask.tx)?;
    table.get(&from).ok_or_else(|| not_mounted(&from))?;
    if let Some(there) = table.conflict(&to) {
        return Err(Error::invalid(format!("path is already in use at {}", there.path)));
    }
    quotas::follow_mount(ask.tx, &from, Some(&to))?;
    table.rewrite(ask.tx, |mounts| {
        if let Some(mount) = mounts.iter_mut().find(|mount| mount.path == from) {
            mount.path = to;
        }
    })?;
    let id = hex::encode(ask.call.unique);
    Response::json(&json!({"migration_id": id}))
}

/// A move takes one entry, so that one with an id is over.
pub(in crate::sys) fn status(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let id = ask.name();
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return Err(Error::not_found());
    }
    Response::json(&json!({
        "migration_id": id,
        "migration_info": {"source_mount": "", "target_mount": "", "status": "success"},
    }))
}

fn with_slash(path: Option<String>, field: &str) -> Result<String, Error> {
    let path = path.unwrap_or_default();
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Err(Error::invalid(format!("'{field}' is missing; send the mount's path in it")));
    }
    Ok([path, "/"].concat())
}

pub(in crate::sys) const REMOUNT: BodyFields = BodyFields::of::<Body>(&[
    word("from", "Where the mount is.").required(),
    word("to", "Where it is to be.").required(),
]);

#[derive(Deserialize)]
struct Body {
    from: Option<String>,
    to: Option<String>,
}

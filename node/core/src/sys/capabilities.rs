//! `sys/capabilities…`: what a token may do at paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_mount::fields::{Object, TextList};
use conclave_mount::{BodyFields, word};
use serde::{Deserialize, Serialize};

use crate::auth_token::find_accessor;
use crate::policy::Acl;
use crate::routes::Ask;
use crate::token::{self, TokenRecord};
use crate::{Error, Response};

/// Of the token in the body.
pub(super) fn of_token(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(Body { token, .. }) = ask.request.parse()?;
    let token = token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Error::invalid("missing token; send it as 'token'"))?;
    let hash = token::hash(&ask.core.barrier, &token);
    let record = match hash {
        Some(hash) => token::load(ask.tx, &hash)?,
        None => None,
    };
    let record = record.ok_or_else(|| Error::invalid("invalid token"))?;
    if !token::lives(ask.tx, &record, ask.call.now_ms)? {
        return Err(Error::invalid("invalid token"));
    }
    of_record(ask, &record)
}

/// Of the token of the accessor in the body.
pub(super) fn of_accessor(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(Body { accessor, .. }) = ask.request.parse()?;
    let accessor = accessor.filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| Error::invalid("missing accessor"))?;
    let (_, record) = find_accessor(ask, &accessor)?;
    of_record(ask, &record)
}

/// Of the caller's token.
pub(super) fn own(ask: &mut Ask<'_>) -> Result<Response, Error> {
    view(ask, &ask.acl.clone())
}

fn of_record(ask: &mut Ask<'_>, record: &TokenRecord) -> Result<Response, Error> {
    let acl = ask.core.policies.rights(ask.tx, &record.policies, ask.call.now_ms)?;
    view(ask, &acl)
}

/// One key a path; a single path's are at the top as well, where old clients look.
fn view(ask: &Ask<'_>, acl: &Arc<Acl>) -> Result<Response, Error> {
    let Object(Body { paths, path, .. }) = ask.request.parse()?;
    let paths = paths.or(path).map(|TextList(paths)| paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(Error::invalid("paths must be supplied"));
    }
    if paths.len() > PATHS_MAX {
        return Err(Error::invalid(format!("at most {PATHS_MAX} paths; ask several times")));
    }
    let of = |path: &String| acl.capabilities(path.trim_start_matches('/'));
    let capabilities = match paths.as_slice() {
        [only] => Some(of(only)),
        _ => None,
    };
    let by_path = paths.iter().map(|path| (path.clone(), of(path))).collect();
    Response::json(&View { capabilities, by_path })
}

/// Paths in one request.
const PATHS_MAX: usize = 1024;

pub(super) const CAPABILITIES: BodyFields = BodyFields::of::<Body>(&[
    word("token", "Whose rights are asked about."),
    word("accessor", "The accessor of the token whose rights are asked about."),
    word("paths", "Where."),
    word("path", "Old name of `paths`."),
]);

#[derive(Deserialize)]
struct Body {
    token: Option<String>,
    accessor: Option<String>,
    paths: Option<TextList>,
    path: Option<TextList>,
}

#[derive(Serialize)]
struct View {
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<&'static str>>,
    #[serde(flatten)]
    by_path: BTreeMap<String, Vec<&'static str>>,
}

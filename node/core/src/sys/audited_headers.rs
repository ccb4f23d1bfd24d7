//! `sys/config/auditing/request-headers`: which headers of clients the audit log may hold.

use std::collections::BTreeMap;

use conclave_mount::fields::{Flag, Object};
use conclave_mount::{BodyFields, word};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::audited::{AuditTable, HeaderRecord, read_table, write_table};
use crate::routes::Ask;
use crate::{Error, Response};

/// The longest name.
const NAME_BYTES_MAX: usize = 256;

/// Headers that hold a token are in no log, not even hidden as other values are: the token's own
/// field says it.
const NEVER: [&str; 2] = ["x-vault-token", "authorization"];

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = load(ask)?;
    let headers = table.headers.iter().map(|header| (header.name.as_str(), view(header)));
    Response::json(&json!({"headers": headers.collect::<BTreeMap<_, _>>()}))
}

pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let (table, name) = (load(ask)?, ask.name().to_owned());
    let found = table.headers.iter().find(|header| header.name == name);
    let found = found.ok_or_else(|| {
        Error::invalid("could not find header in config; `request-headers` lists them")
    })?;
    Response::json(&BTreeMap::from([(name.as_str(), view(found))]))
}

pub(super) fn write(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(Body { hmac }) = ask.request.parse()?;
    let name = ask.name().to_owned();
    if name.len() > NAME_BYTES_MAX || !super::is_header_name(&name) {
        return Err(Error::invalid("this is no header's name; use letters, digits and hyphens"));
    }
    if NEVER.contains(&name.as_str()) {
        return Err(Error::invalid("headers that hold a token are not audited; choose another"));
    }
    let mut table = load(ask)?;
    table.headers.retain(|header| header.name != name);
    table.headers.push(HeaderRecord { name, hmac: matches!(hmac, Some(Flag(true))) });
    write_table(ask.tx, &table)?;
    Ok(Response::empty())
}

pub(super) fn delete(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let (mut table, name) = (load(ask)?, ask.name().to_owned());
    table.headers.retain(|header| header.name != name);
    write_table(ask.tx, &table)?;
    Ok(Response::empty())
}

fn load(ask: &mut Ask<'_>) -> Result<AuditTable, Error> {
    read_table(ask.tx)?.0()
}

fn view(header: &HeaderRecord) -> Value {
    json!({"hmac": header.hmac})
}

pub(super) const HEADER: BodyFields =
    BodyFields::of::<Body>(&[word("hmac", "Whether the header's values are hashed.")]);

#[derive(Deserialize)]
struct Body {
    hmac: Option<Flag>,
}

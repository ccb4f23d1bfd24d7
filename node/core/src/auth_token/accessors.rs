//! `auth/token/accessors`: the handles of all tokens that live.

use serde::Serialize;

use crate::routes::Ask;
use crate::{Error, Response, errors, rows, token};

/// Accessors in one answer.
const ACCESSORS_MAX: usize = 100_000;

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let found = ask.tx.survey(&rows::tokens(), ACCESSORS_MAX).map_err(errors::from_barrier)?;
    let mut keys = Vec::with_capacity(found.names.len());
    for hash in found.names.iter().filter_map(|name| rows::decode_hash(name)) {
        let Some(record) = token::load(ask.tx, &hash)? else { continue };
        if token::lives(ask.tx, &record, ask.call.now_ms)? {
            keys.push(record.accessor);
        }
    }
    keys.sort_unstable();
    let mut response = Response::json(&View { keys })?;
    if found.more {
        response.warnings.push(format!("only {ACCESSORS_MAX} tokens were looked at; tidy them"));
    }
    Ok(response)
}

#[derive(Serialize)]
struct View {
    keys: Vec<String>,
}

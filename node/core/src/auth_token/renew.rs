//! Prolonging tokens.

use conclave_mount::fields::{DurationMs, Object};
use conclave_mount::{BodyFields, word};
use serde::Deserialize;

use super::{lookup, view};
use crate::routes::Ask;
use crate::token::{self, Bounds, MAX_TTL_MS, TokenRecord};
use crate::{Error, ErrorCode, Response};

/// The token in the body.
pub(super) fn any(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let text = lookup::token_in_body(ask)?;
    let found = lookup::find(ask, &text)?;
    let (hash, record) =
        found.ok_or_else(|| Error::new(ErrorCode::PermissionDenied, "token not found"))?;
    renew(ask, &text, &hash, record)
}

/// The caller's own.
pub(super) fn own(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let (text, hash) = (ask.token.expose().to_owned(), ask.caller.hash);
    renew(ask, &text, &hash, ask.caller.record.clone())
}

/// The token of the accessor in the body.
pub(super) fn by_accessor(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let (hash, record) = lookup::find_accessor_in_body(ask)?;
    renew(ask, "", &hash, record)
}

fn renew(
    ask: &mut Ask<'_>,
    text: &str,
    hash: &[u8; 32],
    mut record: TokenRecord,
) -> Result<Response, Error> {
    if record.is_batch() {
        return Err(Error::invalid("batch tokens cannot be renewed; log in again"));
    }
    let Object(Body { increment }) = ask.request.parse()?;
    let now_ms = ask.call.now_ms;
    let mut warnings = Vec::new();
    if record.expires_ms > 0 {
        if !record.renewable {
            return Err(Error::invalid("lease is not renewable"));
        }
        let asked_ms = match increment {
            Some(DurationMs(ms)) if ms > 0 => ms,
            _ => record.ttl_ms,
        };
        let ttl_ms = bounds(&record).cap(asked_ms, record.period_ms, now_ms, &mut warnings);
        record.expires_ms = now_ms.saturating_add(ttl_ms);
        record.renewed_ms = now_ms;
        token::put(ask.tx, hash, &record)?;
    }
    view::granted(text, &record, warnings, now_ms)
}

/// From its making on: a renewal never reaches beyond what a new token could have had.
fn bounds(record: &TokenRecord) -> Bounds {
    let max_ttl_ms = if record.max_ttl_ms == 0 { MAX_TTL_MS } else { record.max_ttl_ms };
    Bounds {
        max_ttl_ms,
        explicit_end_ms: token::explicit_end(record.created_ms, record.explicit_max_ttl_ms),
        end_ms: Some(record.created_ms.saturating_add(max_ttl_ms)),
    }
}

pub(super) const RENEW: BodyFields =
    BodyFields::of::<Body>(&[word("increment", "How long the token is to live from now on.")]);

#[derive(Deserialize)]
struct Body {
    increment: Option<DurationMs>,
}

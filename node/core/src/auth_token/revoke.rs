//! Ending tokens.

use super::lookup;
use crate::routes::Ask;
use crate::token::{self, TokenRecord};
use crate::{Error, Response};

/// The token in the body, with everything below it.
pub(super) fn any(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let text = lookup::token_in_body(ask)?;
    // One that is gone is what the caller asked for.
    if let Some((hash, record)) = lookup::find(ask, &text)? {
        refuse_batch(&record)?;
        token::delete(&ask.core.barrier, ask.tx, &hash, &record)?;
    }
    Ok(Response::empty())
}

/// The caller's own, with everything below it.
pub(super) fn own(ask: &mut Ask<'_>) -> Result<Response, Error> {
    refuse_batch(&ask.caller.record)?;
    token::delete(&ask.core.barrier, ask.tx, &ask.caller.hash, &ask.caller.record)?;
    Ok(Response::empty())
}

/// The token of the accessor in the body, with everything below it.
pub(super) fn by_accessor(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let (hash, record) = lookup::find_accessor_in_body(ask)?;
    token::delete(&ask.core.barrier, ask.tx, &hash, &record)?;
    Ok(Response::empty())
}

/// The token in the body and nothing below it.
pub(super) fn alone(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let text = lookup::token_in_body(ask)?;
    let found = lookup::find(ask, &text)?;
    let (hash, record) =
        found.ok_or_else(|| Error::invalid("token to revoke not found; nothing was changed"))?;
    refuse_batch(&record)?;
    token::revoke_alone(&ask.core.barrier, ask.tx, &hash, record)?;
    Ok(Response::empty())
}

fn refuse_batch(record: &TokenRecord) -> Result<(), Error> {
    match record.is_batch() {
        true => Err(Error::invalid("batch tokens cannot be revoked; revoke its parent, or wait")),
        false => Ok(()),
    }
}

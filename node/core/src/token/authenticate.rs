//! From a token's text to who is asking.

use std::net::IpAddr;

use conclave_barrier::{Barrier, Transaction};
use conclave_mount::Networks;

use super::record::TokenRecord;
use super::{ANCESTORS_MAX, store};
use crate::{Error, Token, errors};

/// Who asks: a token that lives, with its rights not looked at yet.
pub(crate) struct Caller {
    /// The keyed hash of the token's text.
    pub(crate) hash: [u8; 32],
    /// Its row.
    pub(crate) record: TokenRecord,
}

/// Checks the token and every ancestor in the request's own view; their rows become conditions of
/// the commit, so that a token revoked meanwhile cannot win. Every failure is the same to the
/// caller.
pub(crate) fn authenticate(
    barrier: &Barrier,
    tx: &mut Transaction,
    token: &Token,
    now_ms: u64,
    address: Option<IpAddr>,
) -> Result<Caller, Error> {
    let found = store::find(barrier, tx, token.expose())?;
    let (hash, record) = found.ok_or_else(errors::permission_denied)?;
    if !lives(tx, &record, now_ms)? {
        return Err(errors::permission_denied());
    }
    let networks = Networks::parse(&record.bound_cidrs)
        .map_err(|_| Error::internal("a token is bound to what is no network"))?;
    if !networks.admit(address) {
        return Err(errors::permission_denied());
    }
    Ok(Caller { hash, record })
}

/// Whether a token and all above it live at this time.
pub(crate) fn lives(
    tx: &mut Transaction,
    record: &TokenRecord,
    now_ms: u64,
) -> Result<bool, Error> {
    Ok(record.lives(now_ms) && depth(tx, record, now_ms)?.is_some())
}

/// How many ancestors a token has; `None` where one of them ended. A batch token cannot become an
/// orphan when its parent is revoked alone, for nobody can write that into it, so it ends. Nothing
/// hangs on a token that is younger: that is another one, made with the text of one that ended.
pub(super) fn depth(
    tx: &mut Transaction,
    record: &TokenRecord,
    now_ms: u64,
) -> Result<Option<usize>, Error> {
    let (mut parent, mut made_ms) = (record.parent.clone(), record.created_ms);
    for depth in 0..=ANCESTORS_MAX {
        if parent.is_empty() {
            return Ok(Some(depth));
        }
        let hash: [u8; 32] =
            parent.try_into().map_err(|_| Error::internal("a token's parent is no token"))?;
        match store::load(tx, &hash)? {
            Some(above) if record.is_batch() && depth == 0 && above.revoked_alone => {
                return Ok(None);
            }
            Some(above) if above.stands(now_ms) && above.created_ms <= made_ms => {
                (parent, made_ms) = (above.parent, above.created_ms);
            }
            _ => return Ok(None),
        }
    }
    Err(Error::internal("a token has more ancestors than can be made"))
}

/// Takes one use of a token with a count of them; the last one ends it.
pub(crate) fn charge_use(
    barrier: &Barrier,
    tx: &mut Transaction,
    caller: &Caller,
) -> Result<(), Error> {
    if caller.record.uses_left == 0 {
        return Ok(());
    }
    // The request itself may have renewed or ended it.
    let Some(record) = store::load(tx, &caller.hash)? else { return Ok(()) };
    match record.uses_left {
        0 => Ok(()),
        1 => store::delete(barrier, tx, &caller.hash, &record),
        uses_left => {
            let record = TokenRecord { uses_left: uses_left - 1, ..record };
            store::put(tx, &caller.hash, &record)
        }
    }
}

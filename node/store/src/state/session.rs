//! Idempotency: sessions, and the requests they remember.
//!
//! A session is opened through the log, lives while it is used, and remembers what each executed
//! request was answered until the client says that it need not. Time is stamped time. An index
//! entry says when to look at a session; using the session does not move it, looking does, so a
//! request costs one session record.

use bytes::Bytes;
use prost::Message;

use super::changes::Changes;
use super::key::{self, SessionId};
use super::limits::{REQUESTS_PER_SESSION_MAX, SESSIONS_PER_OWNER_MAX};
use super::types::{Outcome, StateError};
use crate::v1::session_change::Kind;
use crate::v1::{RequestId, SessionChange, SessionOpen};

/// Value of a session's record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Session {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) owner: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) ttl_ms: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) expiry_ms: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) low_water: u64,
    #[prost(uint32, tag = "5")]
    pub(crate) remembered: u32,
}

/// Value of a remembered request's record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Remembered {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) fingerprint: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) reply: Bytes,
}

/// Looks at a request id before anything else: an outcome where the command must not be executed.
pub(crate) fn admit(
    changes: &mut Changes<'_>,
    request: &RequestId,
    now_ms: u64,
) -> Result<Option<Outcome>, StateError> {
    let Some(id) = SessionId::parse(&request.session) else {
        return Ok(Some(Outcome::SessionUnknown));
    };
    let Some(mut session) = load_live(changes, id, now_ms)? else {
        return Ok(Some(Outcome::SessionUnknown));
    };
    if request.sequence < session.low_water {
        return Ok(Some(Outcome::SessionUnknown));
    }
    session.expiry_ms = now_ms.saturating_add(session.ttl_ms);
    raise_low_water(changes, id, &mut session, request.low_water)?;
    let outcome = match changes.get(&id.request(request.sequence))? {
        Some(record) => {
            let revision = record.revision;
            let remembered: Remembered = decode(&record.value)?;
            Some(if remembered.fingerprint == request.fingerprint {
                Outcome::Replayed { revision, reply: remembered.reply }
            } else {
                Outcome::RequestConflict
            })
        }
        None if session.remembered >= REQUESTS_PER_SESSION_MAX => Some(Outcome::SessionLimit),
        None => None,
    };
    store(changes, id, &session)?;
    Ok(outcome)
}

/// Remembers an executed request, unless it ended its own session.
pub(crate) fn remember(changes: &mut Changes<'_>, request: &RequestId) -> Result<(), StateError> {
    let Some(id) = SessionId::parse(&request.session) else { return Ok(()) };
    let Some(mut session) = load(changes, id)? else { return Ok(()) };
    let remembered =
        Remembered { fingerprint: request.fingerprint.clone(), reply: request.reply.clone() };
    changes.put(&id.request(request.sequence), encode(&remembered))?;
    session.remembered += 1;
    store(changes, id, &session)
}

/// Opens or closes a session: an outcome where that cannot be.
pub(crate) fn change(
    changes: &mut Changes<'_>,
    change: &SessionChange,
    now_ms: u64,
) -> Result<Option<Outcome>, StateError> {
    match &change.kind {
        None => Ok(Some(Outcome::ConditionFailed)),
        Some(Kind::Open(open)) => self::open(changes, open, now_ms),
        Some(Kind::Close(session)) => {
            // Closing what has ended already is no error: the caller wanted it gone.
            if let Some(id) = SessionId::parse(session) {
                end(changes, id, REQUESTS_PER_SESSION_MAX as usize + 1)?;
            }
            Ok(None)
        }
    }
}

/// Ends sessions that are due at `now_ms`, a bounded number per entry. Takes and returns the time
/// before which none is due; 0 where the next entry must look.
pub(crate) fn sweep(
    changes: &mut Changes<'_>,
    next_expiry_ms: u64,
    now_ms: u64,
) -> Result<u64, StateError> {
    if now_ms < next_expiry_ms {
        return Ok(next_expiry_ms);
    }
    let due = changes.scan(&key::expiries_until(now_ms), SWEPT_SESSIONS_MAX)?;
    let later = changes.scan(&key::expiries_after(now_ms), 1)?;
    let mut next_ms = match later.first() {
        Some(entry) => parse_expiry(entry)?.0,
        None => u64::MAX,
    };
    let mut budget = SWEPT_REQUESTS_MAX;
    for entry in &due {
        let (_, id) = parse_expiry(entry)?;
        match load(changes, id)? {
            Some(session) if session.expiry_ms > now_ms => {
                changes.put(&id.expiry(session.expiry_ms), Bytes::new())?;
                next_ms = next_ms.min(session.expiry_ms);
            }
            Some(_) => {
                let (ended, requests) = end(changes, id, budget)?;
                budget -= requests;
                if !ended {
                    return Ok(0);
                }
            }
            None => {}
        }
        changes.delete(entry)?;
    }
    Ok(if due.len() == SWEPT_SESSIONS_MAX { 0 } else { next_ms })
}

fn open(
    changes: &mut Changes<'_>,
    open: &SessionOpen,
    now_ms: u64,
) -> Result<Option<Outcome>, StateError> {
    let Some(id) = SessionId::parse(&open.session) else {
        return Ok(Some(Outcome::ConditionFailed));
    };
    match load(changes, id)? {
        Some(session) if session.expiry_ms <= now_ms => {
            // Whether it was swept already must not show.
            end(changes, id, REQUESTS_PER_SESSION_MAX as usize + 1)?;
        }
        Some(session) if session.owner != open.owner => return Ok(Some(Outcome::SessionUnknown)),
        Some(session) => {
            // A repeated open is the retry of one whose answer was lost. The time to live stays,
            // so the session's one index entry is early enough and no other is added.
            let expiry_ms = now_ms.saturating_add(session.ttl_ms);
            store(changes, id, &Session { expiry_ms, ..session })?;
            return Ok(None);
        }
        None => {}
    }
    let at = key::owner(&open.owner);
    let count = load_count(changes, &at)?;
    if count >= SESSIONS_PER_OWNER_MAX {
        return Ok(Some(Outcome::SessionLimit));
    }
    changes.put(&at, Bytes::copy_from_slice(&(count + 1).to_be_bytes()))?;
    let (owner, ttl_ms) = (open.owner.clone(), open.ttl_ms);
    let expiry_ms = now_ms.saturating_add(ttl_ms);
    store(changes, id, &Session { owner, ttl_ms, expiry_ms, low_water: 0, remembered: 0 })?;
    changes.put(&id.expiry(expiry_ms), Bytes::new())?;
    Ok(None)
}

/// Deletes a session's requests, at most `limit`, and the session once none is left. Returns
/// whether it has gone, and how many requests were deleted.
fn end(
    changes: &mut Changes<'_>,
    id: SessionId,
    limit: usize,
) -> Result<(bool, usize), StateError> {
    let Some(mut session) = load(changes, id)? else { return Ok((true, 0)) };
    let deleted = forget(changes, id, &mut session, None, limit)?;
    if session.remembered > 0 {
        store(changes, id, &session)?;
        return Ok((false, deleted));
    }
    let at = key::owner(&session.owner);
    match load_count(changes, &at)?.saturating_sub(1) {
        0 => changes.delete(&at)?,
        count => changes.put(&at, Bytes::copy_from_slice(&count.to_be_bytes()))?,
    };
    changes.delete(&id.record())?;
    Ok((true, deleted))
}

fn raise_low_water(
    changes: &mut Changes<'_>,
    id: SessionId,
    session: &mut Session,
    low_water: u64,
) -> Result<(), StateError> {
    if low_water <= session.low_water {
        return Ok(());
    }
    session.low_water = low_water;
    if session.remembered > 0 {
        forget(changes, id, session, Some(low_water), REQUESTS_PER_SESSION_MAX as usize)?;
    }
    Ok(())
}

/// Deletes at most `limit` of a session's requests below a sequence, and says how many went.
fn forget(
    changes: &mut Changes<'_>,
    id: SessionId,
    session: &mut Session,
    below: Option<u64>,
    limit: usize,
) -> Result<usize, StateError> {
    let mut deleted = 0;
    for request in changes.scan(&id.requests(below), limit)? {
        if changes.delete(&request)? {
            session.remembered = session.remembered.saturating_sub(1);
            deleted += 1;
        }
    }
    Ok(deleted)
}

fn load_live(
    changes: &mut Changes<'_>,
    id: SessionId,
    now_ms: u64,
) -> Result<Option<Session>, StateError> {
    Ok(load(changes, id)?.filter(|session| session.expiry_ms > now_ms))
}

fn load(changes: &mut Changes<'_>, id: SessionId) -> Result<Option<Session>, StateError> {
    changes.get(&id.record())?.map(|record| decode(&record.value)).transpose()
}

fn store(changes: &mut Changes<'_>, id: SessionId, session: &Session) -> Result<(), StateError> {
    changes.put(&id.record(), encode(session)).map(|_| ())
}

fn load_count(changes: &mut Changes<'_>, at: &Bytes) -> Result<u32, StateError> {
    let Some(record) = changes.get(at)? else { return Ok(0) };
    let bytes = record.value.as_ref().try_into();
    let bytes = bytes.map_err(|_| StateError::Damaged("an owner's count is malformed".into()))?;
    Ok(u32::from_be_bytes(bytes))
}

fn parse_expiry(entry: &[u8]) -> Result<(u64, SessionId), StateError> {
    key::parse_expiry(entry)
        .ok_or_else(|| StateError::Damaged("an expiry index entry is malformed".into()))
}

fn encode(message: &impl Message) -> Bytes {
    Bytes::from(message.encode_to_vec())
}

fn decode<M: Message + Default>(value: &Bytes) -> Result<M, StateError> {
    M::decode(value.clone())
        .map_err(|_| StateError::Damaged("a session or remembered request is malformed".into()))
}

/// Sessions looked at per entry.
const SWEPT_SESSIONS_MAX: usize = 16;
/// Remembered requests deleted per entry.
const SWEPT_REQUESTS_MAX: usize = 256;

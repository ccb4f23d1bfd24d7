//! Requests that may be sent again: what is remembered of them, and what a second run is told.
//!
//! ```text
//! session as stored = HMAC(session key, 1 ‖ len ‖ session ‖ len ‖ token)[..16]
//! owner of it       = HMAC(session key, 2 ‖ len ‖ token)
//! session of a key  = HMAC(session key, 3 ‖ len ‖ key ‖ len ‖ token)[..16]
//! owner of it       = HMAC(session key, 4 ‖ len ‖ share ‖ len ‖ token)
//! fingerprint       = HMAC(fingerprint key, operation ‖ len ‖ path ‖ len ‖ query ‖ len ‖ body)
//! ```
//!
//! Lengths are 64 bits, big-endian. A session is worth nothing without the token it was opened
//! with: another token makes another stored id of it. The same holds for a key, so no token can
//! learn what another one was answered, or whether its key was used at all.
//!
//! A key is a session of one request, which the pipeline opens for it. It is remembered for
//! [`KEY_TTL_MS`] of stamped time after it was sent last, and a request that carries one is given up
//! long before: what was sent again may not meet a first run that is still under way and whose key
//! has ended. The share is the first byte of the key's session modulo [`KEY_SHARES`]: keys of a
//! token are counted by shares, as the state machine bounds the sessions of one owner.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_barrier::{Barrier, CommitOutcome, HashPurpose, RequestTag};

use crate::canonical::CanonicalPath;
use crate::mounts::Target;
use crate::request::RequestNumber;
use crate::{Error, ErrorCode, Idempotency, Request, Response, Token, errors, reply};

type Answer = Result<Response, Error>;

/// How long a key is remembered after it was sent last, in stamped time.
const KEY_TTL_MS: u64 = 120_000;

/// How long a request with a key may take. With what it may spend before it reaches the core, that
/// is still well below a key's life.
const KEYED_TIME_MAX: Duration = Duration::from_secs(60);

/// How many owners the keys of one token are counted under. Each may have 64, so a token has about
/// two thousand keys at a time.
const KEY_SHARES: u8 = 32;

/// The longest key.
const KEY_BYTES_MAX: usize = 255;

/// A client's own key for one request: visible ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Takes what a client sent.
    ///
    /// # Errors
    /// `InvalidRequest` for what is empty, too long or no visible ASCII.
    pub fn new(text: &str) -> Result<Self, Error> {
        let fits = (1..=KEY_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(format!(
            "an Idempotency-Key has 1 to {KEY_BYTES_MAX} visible ASCII characters; a UUID is a good one"
        )))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks what a request's id says without any state.
pub(crate) fn check(request: &Request) -> Result<(), Error> {
    match &request.idempotency {
        Some(Idempotency::Numbered(id)) if id.low_water > id.sequence => Err(Error::invalid(
            "the request id's low-water mark is above its number; number requests upwards",
        )),
        Some(Idempotency::Keyed(_)) if request.token.is_none() && !request.operation.reads() => {
            Err(Error::invalid(
                "an Idempotency-Key is kept for a token, and none was sent; leave the key out",
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses a key where nothing remembers it: who sends one relies on running once.
pub(crate) fn check_target(request: &Request, target: &Target) -> Result<(), Error> {
    match (&request.idempotency, target) {
        (Some(Idempotency::Keyed(_)), Target::System { route, .. })
            if !request.operation.reads() && route.acts_outside() =>
        {
            Err(Error::invalid(KEY_NOT_KEPT))
        }
        _ => Ok(()),
    }
}

/// What is said where a key would mean nothing.
pub const KEY_NOT_KEPT: &str =
    "this path keeps no Idempotency-Key; leave it out, and look before you send the request again";

/// How long the request may take.
pub(crate) fn time_limit(request: &Request) -> Duration {
    match &request.idempotency {
        Some(Idempotency::Keyed(_)) => request.time_limit.min(KEYED_TIME_MAX),
        _ => request.time_limit,
    }
}

/// What goes into the log with the request. `None` where the client named no id, or where the
/// answer is a fault or a refusal that says nothing about the state: that one may be tried again.
pub(crate) fn tag(
    barrier: &Barrier,
    request: &Request,
    path: &CanonicalPath,
    answer: &Answer,
) -> Option<RequestTag> {
    let (id, token) = (request.idempotency.as_ref()?, request.token.as_ref()?);
    if answer.as_ref().is_err_and(|error| !is_settled(error.code)) {
        return None;
    }
    let (session, sequence, low_water) = match id {
        Idempotency::Numbered(RequestNumber { session, sequence, low_water }) => {
            (stored_session(barrier, session, token), *sequence, *low_water)
        }
        Idempotency::Keyed(key) => (key_session(barrier, key, token), 0, 0),
    };
    Some(RequestTag {
        session,
        sequence,
        low_water,
        fingerprint: fingerprint(barrier, request, path),
        reply: reply::encode(answer),
    })
}

/// Opens the session that the request's key stands for, where it has one; one that is open already
/// lives on from now. False where that lost a race. Nothing of the request itself is executed here,
/// whatever becomes of it.
pub(crate) async fn open_key(barrier: &Arc<Barrier>, request: &Request) -> Result<bool, Error> {
    let (Some(Idempotency::Keyed(key)), Some(token)) = (&request.idempotency, &request.token)
    else {
        return Ok(true);
    };
    let session = key_session(barrier, key, token);
    let owner = key_owner(barrier, &session, token);
    let mut tx = barrier.transaction(barrier.ledger().view());
    tx.open_session(session, owner, KEY_TTL_MS);
    let outcome = match tx.commit(None).await.map_err(errors::from_barrier) {
        Ok(outcome) => outcome,
        Err(error) if error.code == ErrorCode::OutcomeUnknown => {
            return Err(Error::new(
                ErrorCode::Unavailable,
                "no quorum kept the Idempotency-Key in time and nothing was executed; try again",
            ));
        }
        Err(error) => return Err(error),
    };
    match outcome {
        CommitOutcome::Applied { .. } => Ok(true),
        CommitOutcome::ConditionFailed => Ok(false),
        CommitOutcome::SessionLimit => Err(session_limit(true)),
        CommitOutcome::Replayed { .. }
        | CommitOutcome::RequestConflict
        | CommitOutcome::SessionUnknown => {
            Err(Error::internal("a key's session was not opened as sessions are"))
        }
    }
}

/// What the caller is told. `None`: the commit lost a race.
pub(crate) fn conclude(
    outcome: CommitOutcome,
    request: &Request,
    answer: Answer,
) -> Result<Option<Response>, Error> {
    let keyed = matches!(request.idempotency, Some(Idempotency::Keyed(_)));
    match outcome {
        CommitOutcome::Applied { revision } => answer.map(|answer| Some(answer.at(revision))),
        CommitOutcome::ConditionFailed => {
            metrics::counter!("conclave_core_lost_races_total").increment(1);
            Ok(None)
        }
        CommitOutcome::Replayed { revision, reply } => {
            reply::decode(reply)?.map(|answer| Some(answer.at(revision)))
        }
        CommitOutcome::RequestConflict => Err(Error::new(
            ErrorCode::Conflict,
            if keyed {
                "this Idempotency-Key was used for another request: another method, path, query or \
                 body; use a new key for every request"
            } else {
                "this request id was used for another request; use a new number for every request"
            },
        )),
        // Its session was open a moment ago: a restore or a leap of time came between.
        CommitOutcome::SessionUnknown if keyed => Ok(None),
        CommitOutcome::SessionUnknown => Err(Error::new(
            ErrorCode::SessionUnknown,
            "unknown or ended session: whether the request ran before is unknown; open a new session",
        )),
        CommitOutcome::SessionLimit => Err(session_limit(keyed)),
    }
}

fn session_limit(keyed: bool) -> Error {
    Error::new(
        ErrorCode::Busy,
        if keyed {
            "too many Idempotency-Keys of this token in the last two minutes; nothing was executed: \
             wait, or leave the key out"
        } else {
            "too many open sessions of this token, or too many requests in this session whose \
             answers were not acknowledged; close or acknowledge some, or wait"
        },
    )
}

/// The id under which a client's session is remembered.
pub(crate) fn stored_session(barrier: &Barrier, session: &[u8], token: &Token) -> Bytes {
    derive_session(barrier, 1, session, token)
}

/// The id of a key's own session.
fn key_session(barrier: &Barrier, key: &IdempotencyKey, token: &Token) -> Bytes {
    derive_session(barrier, 3, key.0.as_bytes(), token)
}

fn derive_session(barrier: &Barrier, purpose: u8, name: &[u8], token: &Token) -> Bytes {
    let parts = [name, token.expose().as_bytes()];
    let hash = barrier.keyed_hash(HashPurpose::Session, &frame(purpose, &parts));
    Bytes::copy_from_slice(&hash[..16])
}

/// Whom a key is counted for.
fn key_owner(barrier: &Barrier, session: &[u8], token: &Token) -> [u8; 32] {
    let share = [session.first().copied().unwrap_or_default() % KEY_SHARES];
    let parts = [&share[..], token.expose().as_bytes()];
    barrier.keyed_hash(HashPurpose::Session, &frame(4, &parts))
}

/// Whom sessions are counted for.
pub(crate) fn session_owner(barrier: &Barrier, token: &Token) -> [u8; 32] {
    barrier.keyed_hash(HashPurpose::Session, &frame(2, &[token.expose().as_bytes()]))
}

fn fingerprint(barrier: &Barrier, request: &Request, path: &CanonicalPath) -> [u8; 32] {
    let query: Vec<&[u8]> = request
        .query
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()])
        .collect();
    let query = frame(0, &query);
    let parts = [path.as_str().as_bytes(), &query, &request.body];
    barrier.keyed_hash(HashPurpose::Fingerprint, &frame(request.operation as u8, &parts))
}

fn frame(first: u8, parts: &[&[u8]]) -> zeroize::Zeroizing<Vec<u8>> {
    let bytes = 1 + parts.iter().map(|part| 8 + part.len()).sum::<usize>();
    let mut framed = zeroize::Zeroizing::new(Vec::with_capacity(bytes));
    framed.push(first);
    for part in parts {
        framed.extend_from_slice(&(part.len() as u64).to_be_bytes());
        framed.extend_from_slice(part);
    }
    framed
}

/// Whether an error is an answer about the state, which must stay the answer.
fn is_settled(code: ErrorCode) -> bool {
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::CasMismatch
        | ErrorCode::PermissionDenied
        | ErrorCode::NotFound
        | ErrorCode::UnsupportedOperation
        | ErrorCode::Conflict => true,
        // The request alone decides it, so a second run ends the same way, and what is refused for
        // its size costs no entry.
        ErrorCode::TooLarge
        | ErrorCode::Busy
        | ErrorCode::DiskFull
        | ErrorCode::NotInitialized
        | ErrorCode::Sealed
        | ErrorCode::NoLeader
        | ErrorCode::Unavailable
        | ErrorCode::OutcomeUnknown
        | ErrorCode::SessionUnknown
        | ErrorCode::DeadlineExceeded
        | ErrorCode::Quarantined
        | ErrorCode::Internal => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;

    /// A first run that is given up late could otherwise meet a second one after its key has ended.
    #[test]
    fn a_request_with_a_key_ends_long_before_its_key() {
        assert!(KEYED_TIME_MAX.as_millis() * 2 <= u128::from(KEY_TTL_MS));
        let bench = crate::testing::Bench::new();
        let mut request = bench.request(Operation::Write, "secret/data/app", b"{}");
        request.time_limit = Duration::from_secs(90);
        assert_eq!(time_limit(&request), Duration::from_secs(90));
        request.idempotency = Some(Idempotency::Keyed(IdempotencyKey::new("k").unwrap()));
        assert_eq!(time_limit(&request), KEYED_TIME_MAX);
        request.time_limit = Duration::from_secs(1);
        assert_eq!(time_limit(&request), Duration::from_secs(1));
    }

    #[test]
    fn frames_keep_their_parts_apart() {
        assert_ne!(*frame(1, &[b"ab", b"c"]), *frame(1, &[b"a", b"bc"]));
        assert_ne!(*frame(1, &[b"a"]), *frame(2, &[b"a"]));
        assert_eq!(*frame(7, &[b"ab"]), [&[7, 0, 0, 0, 0, 0, 0, 0, 2][..], b"ab"].concat());
    }
}

//! Requests that may be sent again: what is remembered of them, and what a second run is told.
//!
//! ```text
//! session as stored = HMAC(session key, 1 ‖ len ‖ session ‖ len ‖ token)[..16]
//! owner of it       = HMAC(session key, 2 ‖ len ‖ token)
//! fingerprint       = HMAC(fingerprint key, operation ‖ len ‖ path ‖ len ‖ query ‖ len ‖ body)
//! ```
//!
//! Lengths are 64 bits, big-endian. A session is worth nothing without the token it was opened
//! with: another token makes another stored id of it.

use bytes::Bytes;
use conclave_barrier::{Barrier, CommitOutcome, HashPurpose, RequestTag};

use crate::canonical::CanonicalPath;
use crate::{Error, ErrorCode, Request, Response, Token, reply};

type Answer = Result<Response, Error>;

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
    Some(RequestTag {
        session: stored_session(barrier, &id.session, token),
        sequence: id.sequence,
        low_water: id.low_water,
        fingerprint: fingerprint(barrier, request, path),
        reply: reply::encode(answer),
    })
}

/// What the caller is told. `None`: the commit lost a race.
pub(crate) fn conclude(outcome: CommitOutcome, answer: Answer) -> Result<Option<Response>, Error> {
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
            "this request id was used for another request; use a new number for every request",
        )),
        CommitOutcome::SessionUnknown => Err(Error::new(
            ErrorCode::SessionUnknown,
            "unknown or ended session: whether the request ran before is unknown; open a new session",
        )),
        CommitOutcome::SessionLimit => Err(Error::new(
            ErrorCode::Busy,
            "too many open sessions of this token, or too many requests in this session whose \
             answers were not acknowledged; close or acknowledge some, or wait",
        )),
    }
}

/// The id under which a client's session is remembered.
pub(crate) fn stored_session(barrier: &Barrier, session: &[u8], token: &Token) -> Bytes {
    let parts = [session, token.expose().as_bytes()];
    let hash = barrier.keyed_hash(HashPurpose::Session, &frame(1, &parts));
    Bytes::copy_from_slice(&hash[..16])
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

    #[test]
    fn frames_keep_their_parts_apart() {
        assert_ne!(*frame(1, &[b"ab", b"c"]), *frame(1, &[b"a", b"bc"]));
        assert_ne!(*frame(1, &[b"a"]), *frame(2, &[b"a"]));
        assert_eq!(*frame(7, &[b"ab"]), [&[7, 0, 0, 0, 0, 0, 0, 0, 2][..], b"ab"].concat());
    }
}

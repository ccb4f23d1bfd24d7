//! `sys/sessions/open` and `close`: what request ids are counted in.

use conclave_mount::fields::{Object, Whole, present};
use conclave_mount::{BodyFields, word};
use serde::{Deserialize, Serialize};

use crate::idempotency::{session_owner, stored_session};
use crate::routes::Ask;
use crate::{Error, Response};

/// How long a session lives without a request, where nobody says.
const TTL_MS_DEFAULT: u64 = 600_000;
const TTL_MS_MIN: u64 = 1_000;
const TTL_MS_MAX: u64 = 3_600_000;

/// What the client names the session by.
const SESSION_BYTES: usize = 16;

/// Opens a session for the caller's token.
pub(super) fn open(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let core = ask.core;
    let Object(OpenBody { ttl_ms }) = ask.request.parse()?;
    let ttl_ms = match ttl_ms.map_or(0, |Whole(ttl_ms)| ttl_ms) {
        0 => TTL_MS_DEFAULT,
        ttl_ms @ TTL_MS_MIN..=TTL_MS_MAX => ttl_ms,
        _ => {
            return Err(Error::invalid(format!(
                "'ttl_ms' must be from {TTL_MS_MIN} to {TTL_MS_MAX}, or 0 for {TTL_MS_DEFAULT}"
            )));
        }
    };
    let session: [u8; SESSION_BYTES] = core.ports.random();
    let stored = stored_session(&core.barrier, &session, ask.token);
    ask.tx.open_session(stored, session_owner(&core.barrier, ask.token), ttl_ms);
    Response::json(&OpenView { session: hex::encode(session), ttl_ms })
}

/// Closes a session of the caller's token; no error where it is over already.
pub(super) fn close(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let core = ask.core;
    let Object(CloseBody { session }) = ask.request.parse()?;
    let session: Option<Vec<u8>> = hex::decode(session).ok().filter(|s| s.len() == SESSION_BYTES);
    let session = session
        .ok_or_else(|| Error::invalid("'session' must be what 'sys/sessions/open' answered"))?;
    ask.tx.close_session(stored_session(&core.barrier, &session, ask.token));
    Ok(Response::empty())
}

pub(super) const OPEN: BodyFields = BodyFields::of::<OpenBody>(&[word(
    "ttl_ms",
    "How long the session lives without a request, in milliseconds.",
)]);

#[derive(Deserialize)]
struct OpenBody {
    #[serde(default, deserialize_with = "present")]
    ttl_ms: Option<Whole>,
}

#[derive(Serialize)]
struct OpenView {
    session: String,
    ttl_ms: u64,
}

pub(super) const CLOSE: BodyFields =
    BodyFields::of::<CloseBody>(&[word("session", "The session.").required()]);

#[derive(Deserialize)]
struct CloseBody {
    #[serde(default)]
    session: String,
}

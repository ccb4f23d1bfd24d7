//! What the steps of every key ceremony share: their fields, and who may take them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use conclave_mount::fields::{Object, TextList};
use conclave_mount::{BodyFields, word};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key_ceremonies::Share;
use crate::routes::Anybody;
use crate::{Error, ErrorCode, Response};

/// Whether the caller may read the nonce of an attempt: who knows it takes part.
pub(super) fn may_know_nonce(ask: &Anybody<'_>) -> bool {
    ask.caller.is_some() || ask.core.operator.are_open()
}

/// A step that anybody may take costs those without a token something, so that nobody keeps the one
/// attempt there is busy for others.
pub(super) fn charge(ask: &Anybody<'_>) -> Result<(), Error> {
    if ask.caller.is_some() {
        return Ok(());
    }
    let now = ask.core.ports.clock.monotonic();
    ask.core.ceremony_budget.charge(ask.call.request.client, now)
}

/// What became of a share. A wrong one costs, a right one does not.
pub(super) fn given<T>(ask: &Anybody<'_>, step: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &step
        && error.code == ErrorCode::InvalidRequest
    {
        charge(ask)?;
    }
    step
}

/// A share and the attempt it is for.
pub(super) fn share_and_nonce(ask: &Anybody<'_>) -> Result<(Share, String), Error> {
    let Object(GiveBody { key, nonce }) = ask.request.parse()?;
    Ok((decode(&Zeroizing::new(key))?, nonce))
}

/// Hex, else base64, as it was handed out.
fn decode(text: &str) -> Result<Share, Error> {
    if text.is_empty() {
        return Err(Error::invalid("'key' must be specified in request body as JSON"));
    }
    let bytes = hex::decode(text).ok().or_else(|| BASE64.decode(text).ok());
    bytes
        .map(Zeroizing::new)
        .ok_or_else(|| Error::invalid("'key' must be a valid hex or base64 string"))
}

/// The nonce of the attempt to cancel. Where a token is asked for, so is the nonce: whoever began
/// another one meanwhile is not to be disturbed.
pub(super) fn nonce_to_cancel(ask: &Anybody<'_>) -> Result<Option<String>, Error> {
    let Object(CancelBody { nonce }) = ask.request.parse()?;
    if nonce.is_empty() && !ask.core.operator.are_open() {
        return Err(Error::invalid("'nonce' is missing; give that of the attempt to be cancelled"));
    }
    Ok(Some(nonce).filter(|nonce| !nonce.is_empty()))
}

/// An answer that holds a secret, in memory that is wiped once it was sent.
pub(super) fn secret_json(value: &impl Serialize) -> Result<Response, Error> {
    // Large enough for 255 shares of a 32-byte key, so that it never moves while it is written.
    let mut out = Zeroizing::new(Vec::with_capacity(64 << 10));
    serde_json::to_writer(&mut *out, value)
        .map_err(|_| Error::internal("an answer cannot be written as JSON"))?;
    Ok(Response { data: Some(Bytes::from_owner(out)), ..Response::default() })
}

pub(super) const GIVE: BodyFields = BodyFields::of::<GiveBody>(&[
    word("key", "A share, in hex or base64.").required(),
    word("nonce", "Of the attempt that the share is for."),
]);

#[derive(Deserialize)]
struct GiveBody {
    #[serde(default)]
    key: String,
    #[serde(default)]
    nonce: String,
}

pub(super) const CANCEL: BodyFields =
    BodyFields::of::<CancelBody>(&[word("nonce", "Of the attempt that is to end.")]);

#[derive(Deserialize)]
struct CancelBody {
    #[serde(default)]
    nonce: String,
}

/// Keys to encrypt shares with: a list, or one text of several. Absent, null and empty are none.
#[derive(Deserialize, Default)]
#[serde(transparent)]
pub(super) struct PgpKeys(Option<TextList>);

impl PgpKeys {
    /// Where a client asks for what this server does not do, it must not take the answer for it.
    pub(super) fn refuse(&self) -> Result<(), Error> {
        if self.0.as_ref().is_some_and(|TextList(keys)| !keys.is_empty()) {
            return Err(Error::invalid("PGP keys are not supported; leave them out"));
        }
        Ok(())
    }
}

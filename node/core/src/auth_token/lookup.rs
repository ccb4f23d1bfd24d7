//! Showing tokens.

use conclave_mount::fields::Object;
use conclave_mount::{BodyFields, word};
use serde::Deserialize;

use super::view::LookupView;
use crate::routes::Ask;
use crate::token::{self, TokenRecord};
use crate::{Error, ErrorCode, Response};

/// The token in the body.
pub(super) fn any(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let text = token_in_body(ask)?;
    let (_, record) = find(ask, &text)?.ok_or_else(bad_token)?;
    Response::json(&LookupView::new(&text, &record, ask.call.now_ms))
}

/// The caller's own.
pub(super) fn own(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let view = LookupView::new(ask.token.expose(), &ask.caller.record, ask.call.now_ms);
    Response::json(&view)
}

/// The token of the accessor in the body.
pub(super) fn by_accessor(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let (_, record) = find_accessor_in_body(ask)?;
    Response::json(&LookupView::new("", &record, ask.call.now_ms))
}

/// The `token` of the body, which must be there.
pub(super) fn token_in_body(ask: &Ask<'_>) -> Result<String, Error> {
    let Object(TokenBody { token }) = ask.request.parse()?;
    token.filter(|token| !token.is_empty()).ok_or_else(|| Error::invalid("missing token ID"))
}

/// A token that lives, by its text.
pub(super) fn find(
    ask: &mut Ask<'_>,
    text: &str,
) -> Result<Option<([u8; 32], TokenRecord)>, Error> {
    let found = token::find(&ask.core.barrier, ask.tx, text)?;
    let Some((hash, record)) = found else { return Ok(None) };
    Ok(token::lives(ask.tx, &record, ask.call.now_ms)?.then_some((hash, record)))
}

/// A token that lives, by the `accessor` of the body.
pub(super) fn find_accessor_in_body(ask: &mut Ask<'_>) -> Result<([u8; 32], TokenRecord), Error> {
    let Object(AccessorBody { accessor }) = ask.request.parse()?;
    let accessor = accessor.filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| Error::invalid("missing accessor"))?;
    find_accessor(ask, &accessor)
}

/// A token that lives, by its accessor.
pub(crate) fn find_accessor(
    ask: &mut Ask<'_>,
    accessor: &str,
) -> Result<([u8; 32], TokenRecord), Error> {
    let found = token::find_by_accessor(&ask.core.barrier, ask.tx, accessor)?;
    match found {
        Some((hash, record)) if token::lives(ask.tx, &record, ask.call.now_ms)? => {
            Ok((hash, record))
        }
        _ => Err(Error::invalid("invalid accessor")),
    }
}

fn bad_token() -> Error {
    Error::new(ErrorCode::PermissionDenied, "bad token")
}

pub(super) const TOKEN: BodyFields =
    BodyFields::of::<TokenBody>(&[word("token", "The text of the token.").required()]);

#[derive(Deserialize)]
struct TokenBody {
    token: Option<String>,
}

pub(super) const ACCESSOR: BodyFields =
    BodyFields::of::<AccessorBody>(&[word("accessor", "The accessor of the token.").required()]);

#[derive(Deserialize)]
struct AccessorBody {
    accessor: Option<String>,
}

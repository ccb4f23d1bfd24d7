//! `sys/storage/raft/join-token`: a secret by which one new node may join.

use std::time::Duration;

use conclave_mount::fields::{DurationMs, Object, Whole, present};
use conclave_mount::{BodyFields, word};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::join_tokens::TTL_MAX;
use crate::routes::Ask;
use crate::{Error, JoinToken, Response};

pub(super) fn create<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    make(ask).boxed()
}

async fn make(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(body): Object<Body> = ask.request.parse()?;
    let ttl = body.ttl()?;
    let members = ask.core.operator.members().await?;
    let token = JoinToken::make(&ask.core.ports);
    token.store(ask.tx, ttl, ask.request.now_ms)?;
    let ttl_ms = u64::try_from(ttl.as_millis()).expect("a stored token's ttl is short");
    Response::json(&View { token: token.text(&members)?, ttl: ttl_ms / 1000, ttl_ms })
}

pub(super) const JOIN_TOKEN: BodyFields = BodyFields::of::<Body>(&[
    word("ttl", "How long the secret works."),
    word("ttl_ms", "The same in milliseconds."),
]);

/// `ttl` in seconds or as a duration, or `ttl_ms`; 0 or neither for the longest.
#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "present")]
    ttl: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    ttl_ms: Option<Whole>,
}

impl Body {
    fn ttl(&self) -> Result<Duration, Error> {
        let ttl_ms = match (self.ttl, self.ttl_ms) {
            (Some(_), Some(_)) => return Err(Error::invalid("give 'ttl' or 'ttl_ms', not both")),
            (Some(DurationMs(ms)), None) | (None, Some(Whole(ms))) => ms,
            (None, None) => 0,
        };
        Ok(if ttl_ms == 0 { TTL_MAX } else { Duration::from_millis(ttl_ms) })
    }
}

/// `ttl` in seconds, as everywhere in this API.
#[derive(Serialize)]
struct View {
    token: String,
    ttl: u64,
    ttl_ms: u64,
}

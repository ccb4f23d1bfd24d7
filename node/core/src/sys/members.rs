//! `sys/storage/raft/{remove-peer,promote,demote}`: a member leaves for good, or changes its part.

use conclave_mount::fields::Object;
use conclave_mount::{BodyFields, word};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;

use crate::routes::Ask;
use crate::{Error, Response};

pub(super) fn remove<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async {
        ask.core.operator.remove_member(server_id(ask)?).await?;
        Ok(Response::empty())
    }
    .boxed()
}

pub(super) fn promote<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async {
        ask.core.operator.promote_member(server_id(ask)?).await?;
        Ok(Response::empty())
    }
    .boxed()
}

pub(super) fn demote<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async {
        ask.core.operator.demote_member(server_id(ask)?).await?;
        Ok(Response::empty())
    }
    .boxed()
}

fn server_id(ask: &Ask<'_>) -> Result<String, Error> {
    let Object(Body { server_id }) = ask.request.parse()?;
    if server_id.is_empty() {
        return Err(Error::invalid(
            "'server_id' is missing; give the name or the Raft id of a member",
        ));
    }
    Ok(server_id)
}

pub(super) const MEMBER: BodyFields =
    BodyFields::of::<Body>(&[word("server_id", "The member's name or number.").required()]);

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    server_id: String,
}

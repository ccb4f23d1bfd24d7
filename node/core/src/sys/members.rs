//! `sys/storage/raft/{remove-peer,promote,demote}`: a member leaves for good, or changes its part.

use conclave_mount::fields::Object;
use conclave_mount::{Request, Response};
use serde::Deserialize;

use crate::{Core, Error};

pub(super) async fn remove(core: &Core, request: &Request) -> Result<Response, Error> {
    core.operator.remove_member(server_id(request)?).await?;
    Ok(Response::empty())
}

pub(super) async fn promote(core: &Core, request: &Request) -> Result<Response, Error> {
    core.operator.promote_member(server_id(request)?).await?;
    Ok(Response::empty())
}

pub(super) async fn demote(core: &Core, request: &Request) -> Result<Response, Error> {
    core.operator.demote_member(server_id(request)?).await?;
    Ok(Response::empty())
}

fn server_id(request: &Request) -> Result<String, Error> {
    let Object(Body { server_id }) = request.parse()?;
    if server_id.is_empty() {
        return Err(Error::invalid(
            "'server_id' is missing; give the name or the Raft id of a member",
        ));
    }
    Ok(server_id)
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    server_id: String,
}

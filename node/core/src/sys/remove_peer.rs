//! `sys/storage/raft/remove-peer`: a member leaves for good.

use conclave_mount::fields::Object;
use conclave_mount::{Request, Response};
use serde::Deserialize;

use crate::{Core, Error};

pub(super) async fn remove(core: &Core, request: &Request) -> Result<Response, Error> {
    let Object(Body { server_id }) = request.parse()?;
    if server_id.is_empty() {
        return Err(Error::invalid(
            "'server_id' is missing; give the name or the Raft id of the member to remove",
        ));
    }
    core.operator.remove_member(server_id).await?;
    Ok(Response::empty())
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    server_id: String,
}

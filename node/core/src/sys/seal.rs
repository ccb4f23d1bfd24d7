//! `sys/seal`: seals the node that was asked.

use conclave_mount::Response;

use crate::{Core, Error};

pub(super) async fn seal(core: &Core) -> Result<Response, Error> {
    core.operator.seal().await?;
    Ok(Response::empty())
}

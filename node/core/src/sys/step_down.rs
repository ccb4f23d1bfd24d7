//! `sys/step-down`: the leader hands over to another voter.

use conclave_mount::Response;

use crate::{Core, Error};

pub(super) async fn step_down(core: &Core) -> Result<Response, Error> {
    core.operator.step_down().await?;
    Ok(Response::empty())
}

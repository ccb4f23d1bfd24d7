//! `sys/metrics`: this node's figures.

use conclave_mount::Response;

use crate::{Core, Error};

/// The text as one JSON string; the door that was asked for plain text takes it out again.
pub(super) fn read(core: &Core) -> Result<Response, Error> {
    Response::json(&core.operator.metrics())
}

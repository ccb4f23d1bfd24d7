//! `sys/metrics`: this node's figures.

use crate::routes::Ask;
use crate::{Error, Response};

/// The text as one JSON string; the door that was asked for plain text takes it out again.
pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    Response::json(&ask.core.operator.metrics())
}

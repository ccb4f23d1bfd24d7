//! `sys/step-down`: the leader hands over to another voter.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::routes::Ask;
use crate::{Error, Response};

pub(super) fn step_down<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async {
        ask.core.operator.step_down().await?;
        Ok(Response::empty())
    }
    .boxed()
}

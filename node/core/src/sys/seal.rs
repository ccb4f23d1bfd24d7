//! `sys/seal`: seals the node that was asked.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::routes::Ask;
use crate::{Error, Response};

pub(super) fn seal<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async {
        ask.core.operator.seal().await?;
        Ok(Response::empty())
    }
    .boxed()
}

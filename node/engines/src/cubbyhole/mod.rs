//! The cubbyhole: each token's own secrets, which no other token can name.
//!
//! ```text
//! tokens/<token id>/<name>    one value
//! ```
//!
//! The rows of a token end with it: the core deletes what is below `tokens/<token id>`.

#[cfg(test)]
mod tests;

use conclave_mount::{
    Access, Engine, EngineError, ErrorCode, MountOptions, Operation, Request, Response, Route,
    Storage,
};
use futures::future::BoxFuture;

use crate::plain;

/// The engine.
#[derive(Debug, Default)]
pub struct Cubbyhole {
    _private: (),
}

impl Cubbyhole {
    /// The engine; what differs between tokens stands in storage.
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

impl Engine for Cubbyhole {
    fn kind(&self) -> &'static str {
        "cubbyhole"
    }

    fn routes(&self, _: &MountOptions) -> &'static [Route] {
        plain::ROUTES
    }

    fn access(&self, _: &MountOptions, operation: Operation, _: &str) -> Access {
        match operation {
            Operation::Read | Operation::List | Operation::Scan => Access::Read,
            Operation::Write | Operation::Delete | Operation::Patch => Access::Write,
        }
    }

    fn exists(&self, request: &Request, storage: &mut dyn Storage) -> Result<bool, EngineError> {
        plain::exists(request, storage, &directory(request)?)
    }

    fn handle<'a>(
        &'a self,
        request: &'a Request,
        storage: &'a mut dyn Storage,
    ) -> BoxFuture<'a, Result<Response, EngineError>> {
        Box::pin(async move {
            let directory = directory(request)?;
            plain::serve(request, storage, &directory, &|_| true)
        })
    }
}

/// Where the caller's secrets are. Who has no token, or one that is not stored, has none; an id
/// that were more than one segment could reach into another's.
fn directory(request: &Request) -> Result<String, EngineError> {
    match request.caller.token_id.as_str() {
        "" => Err(EngineError::new(ErrorCode::PermissionDenied, "permission denied")),
        id if id.contains('/') => Err(EngineError::internal("a token's id has a slash")),
        id => Ok(format!("tokens/{id}")),
    }
}

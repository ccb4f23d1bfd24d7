//! What an engine is.

use futures::future::BoxFuture;

use crate::{EngineError, Operation, Request, Response, Storage};

/// Whether an operation may run on any node or only on the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Writes nothing: runs on the node that was asked.
    Read,
    /// May write: runs on the leader.
    Write,
}

/// One row of an engine's path table: what help, OpenAPI and metrics are made of.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The pattern: `data/*path`, `config`. `*name` takes the rest, `:name` one segment.
    pub pattern: &'static str,
    /// Which operations exist there.
    pub operations: &'static [Operation],
    /// One sentence for a reader.
    pub help: &'static str,
}

/// A secrets engine. One value serves every mount of its type; what differs between mounts stands
/// in storage.
pub trait Engine: Send + Sync + 'static {
    /// The type's name as it stands in a mount table: `kv`.
    fn kind(&self) -> &'static str;

    /// Every path the engine serves.
    fn routes(&self) -> &'static [Route];

    /// Where this request must run. Decided from operation and path alone.
    fn access(&self, operation: Operation, path: &str) -> Access;

    /// Serves one request. What was written through `storage` is committed only if this returns
    /// `Ok`; the core runs it again from the start where the commit lost a race.
    ///
    /// # Errors
    /// Whatever the caller is to be told.
    fn handle<'a>(
        &'a self,
        request: &'a Request,
        storage: &'a mut dyn Storage,
    ) -> BoxFuture<'a, Result<Response, EngineError>>;
}

//! What an engine is.

use std::borrow::Cow;

use futures::future::BoxFuture;

use crate::{BodyFields, EngineError, MountOptions, Operation, Request, Response, Storage};

/// Whether an operation may run on any node or only on the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Writes nothing: runs on the node that was asked.
    Read,
    /// May write: runs on the leader.
    Write,
}

/// Where mounts of an engine stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A secrets engine, mounted at any path of its own.
    Secret,
    /// An auth method, mounted below `auth/`.
    Auth,
}

/// One row of an engine's path table: what help, OpenAPI, policy and metrics are made of.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The pattern: `data/*path`, `config`. `*name` takes the rest, `:name` one segment.
    pub pattern: &'static str,
    /// Which operations exist there.
    pub operations: &'static [Operation],
    /// One sentence for a reader.
    pub help: &'static str,
    /// Served without a token: a login. The engine itself decides whom it lets in.
    pub public: bool,
    /// Needs the `sudo` capability beside the operation's own.
    pub sudo: bool,
    /// Whether a write may make what is not there yet; see [`Engine::exists`].
    pub creates: bool,
    /// What the bodies of its writes may hold.
    pub bodies: &'static [BodyFields],
}

impl Route {
    /// A route for callers with a token whose policies allow it.
    #[must_use]
    pub const fn new(
        pattern: &'static str,
        operations: &'static [Operation],
        help: &'static str,
    ) -> Self {
        let (public, sudo, creates, bodies) = (false, false, false, &[]);
        Self { pattern, operations, help, public, sudo, creates, bodies }
    }

    /// The same, served without a token.
    #[must_use]
    pub const fn public(self) -> Self {
        Self { public: true, ..self }
    }

    /// The same, for callers with `sudo` alone.
    #[must_use]
    pub const fn sudo(self) -> Self {
        Self { sudo: true, ..self }
    }

    /// The same, whose writes need `create` where nothing is there yet.
    #[must_use]
    pub const fn creates(self) -> Self {
        Self { creates: true, ..self }
    }

    /// The same, with what its handler reads from bodies.
    #[must_use]
    pub const fn takes(self, bodies: &'static [BodyFields]) -> Self {
        Self { bodies, ..self }
    }
}

/// A secrets engine or an auth method. One value serves every mount of its type; what differs
/// between mounts stands in storage and in the mount's options.
pub trait Engine: Send + Sync + 'static {
    /// The type's name as it stands in a mount table: `kv`.
    fn kind(&self) -> &'static str;

    /// Where it is mounted.
    fn class(&self) -> Class {
        Class::Secret
    }

    /// Every path the engine serves on a mount with these options.
    fn routes(&self, options: &MountOptions) -> &'static [Route];

    /// Where this request must run. Decided from operation, path and the mount's options alone.
    fn access(&self, options: &MountOptions, operation: Operation, path: &str) -> Access;

    /// Whether what a write names is there already: then it needs the `update` capability, else
    /// `create`. Asked before the caller is known to hold either, of a request that says of the
    /// caller no more than its token's id; must only read.
    ///
    /// # Errors
    /// As a read.
    fn exists(&self, _request: &Request, _storage: &mut dyn Storage) -> Result<bool, EngineError> {
        Ok(true)
    }

    /// Whom a login claims to be, as it was sent: its failures are counted under that name, whether
    /// anybody has it or not. A login that is refused for its secret, its user or the caller's
    /// address fails with `PermissionDenied`, and only after the same work as any other; the core
    /// chooses the words, and counts. `None` for every other request, and where the method has no
    /// names. Asked before the body is there, too: a name that stands in the path is found then.
    fn login_name<'a>(&self, _request: &'a Request) -> Option<Cow<'a, str>> {
        None
    }

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

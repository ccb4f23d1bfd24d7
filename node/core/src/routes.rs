//! The core's own routes: one table row each, with all that routing, policy, help and metrics must
//! know of it. The handlers stand in `sys/` and `auth_token/`, one small file each.

use std::sync::Arc;

use conclave_barrier::Transaction;
use conclave_mount::{Access, BodyFields, Operation};
use futures::future::BoxFuture;

use crate::call::Call;
use crate::policy::Acl;
use crate::{Core, Error, Response, Token, auth_token, errors, pattern, sys, token};

/// One operation on one pattern.
pub(crate) struct CoreRoute {
    /// The whole path: `sys/mounts/*path`. It is also the label in metrics.
    pub(crate) pattern: &'static str,
    pub(crate) operation: Operation,
    kind: Kind,
    /// Needs `sudo` beside the operation's own capability.
    pub(crate) sudo: bool,
    /// Who may come without a token.
    tokenless: Tokenless,
    /// One sentence for a reader.
    pub(crate) help: &'static str,
    /// What its handler reads from the body.
    pub(crate) bodies: &'static [BodyFields],
    handler: Handler,
}

/// What a route does, and so where it runs and whether its effect is part of a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads, on any node.
    Reads,
    /// Reads what only the node that was asked can tell.
    ReadsHere,
    /// Acts on the node that was asked.
    ActsHere,
    /// Acts on the cluster, from the leader, by other means than rows.
    ActsOnCluster,
    /// Writes rows or changes a session.
    WritesRows,
    /// Moves bytes that are no request's body. The node does that beside the pipeline, which only
    /// admits the caller; see [`Core::admit`].
    Streams,
}

/// Whether a route also serves callers without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokenless {
    /// Never.
    No,
    /// A caller without one is served, and told less; one with a token must be allowed.
    ToldLess,
    /// Where the cluster's configuration lets anybody begin key ceremonies.
    WhereOpen,
    /// No token is looked at: the request proves by itself what it may do.
    Always,
}

/// What serves a route.
pub(crate) enum Handler {
    /// Decides and writes without waiting for anything.
    Now(fn(&mut Ask<'_>) -> Result<Response, Error>),
    /// Waits for the node or the cluster.
    Waits(for<'a> fn(&'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>>),
    /// Serves callers without a token, too.
    Anybody(for<'a> fn(Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>>),
}

/// One request to the core itself whose caller may have no token.
pub(crate) struct Anybody<'a> {
    pub(crate) core: &'a Core,
    pub(crate) call: &'a Call<'a>,
    /// Who was found to be allowed by a token.
    pub(crate) caller: Option<&'a token::Caller>,
    /// With its whole path.
    pub(crate) request: &'a conclave_mount::Request,
}

impl Anybody<'_> {
    /// Whether it only asks.
    pub(crate) fn is_look(&self) -> bool {
        self.request.operation == Operation::Read
    }
}

/// One authorised request to the core itself.
pub(crate) struct Ask<'a> {
    pub(crate) core: &'a Core,
    pub(crate) call: &'a Call<'a>,
    pub(crate) caller: &'a token::Caller,
    /// The one that the request carries.
    pub(crate) token: &'a Token,
    /// What the caller's policies allow.
    pub(crate) acl: &'a Arc<Acl>,
    /// Whether the caller has `sudo` on this path.
    pub(crate) sudo: bool,
    /// With its whole path.
    pub(crate) request: &'a conclave_mount::Request,
    pub(crate) tx: &'a mut Transaction,
    /// Of the route that was found.
    pub(crate) route: &'static CoreRoute,
}

impl<'a> Ask<'a> {
    /// Of a caller with a token.
    pub(crate) fn new(
        core: &'a Core,
        call: &'a Call<'a>,
        route: &'static CoreRoute,
        request: &'a conclave_mount::Request,
        tx: &'a mut Transaction,
    ) -> Result<Self, Error> {
        let caller = call.permit.caller.as_ref().ok_or_else(errors::permission_denied)?;
        let token = call.request.token.as_ref().ok_or_else(errors::permission_denied)?;
        let (acl, sudo) = (call.permit.acl(), call.permit.sudo);
        Ok(Self { core, call, caller, token, acl, sudo, request, tx, route })
    }

    /// What stands in the path where the pattern has `*…` or its last `:…`.
    pub(crate) fn name(&self) -> &str {
        pattern::capture(self.route.pattern, &self.request.path).unwrap_or_default()
    }
}

impl CoreRoute {
    /// A row of a table.
    pub(crate) const fn new(
        pattern: &'static str,
        operation: Operation,
        kind: Kind,
        handler: Handler,
        help: &'static str,
    ) -> Self {
        let (sudo, tokenless, bodies) = (false, Tokenless::No, &[]);
        Self { pattern, operation, kind, sudo, tokenless, help, bodies, handler }
    }

    /// The same for callers with `sudo` alone.
    pub(crate) const fn sudo(self) -> Self {
        Self { sudo: true, ..self }
    }

    /// The same for callers without a token, too.
    pub(crate) const fn tokenless(self, tokenless: Tokenless) -> Self {
        Self { tokenless, ..self }
    }

    /// The same, with what its handler reads from the body.
    pub(crate) const fn takes(self, bodies: &'static [BodyFields]) -> Self {
        Self { bodies, ..self }
    }

    /// Whether it serves callers without a token, told less or not.
    pub(crate) fn serves_anybody(&self, open: bool) -> bool {
        self.needs_no_token(false, open)
    }

    /// Whether a request goes on without a token being looked at. `open`: whether the cluster lets
    /// anybody begin key ceremonies.
    pub(crate) fn needs_no_token(&self, sent: bool, open: bool) -> bool {
        match self.tokenless {
            Tokenless::No => false,
            Tokenless::ToldLess => open || !sent,
            Tokenless::WhereOpen => open,
            Tokenless::Always => true,
        }
    }

    pub(crate) fn access(&self) -> Access {
        match self.kind {
            Kind::ActsOnCluster | Kind::WritesRows => Access::Write,
            _ => Access::Read,
        }
    }

    pub(crate) fn writes_rows(&self) -> bool {
        self.kind == Kind::WritesRows
    }

    /// Whether another node's answer is as good as this one's.
    pub(crate) fn reads_anywhere(&self) -> bool {
        self.kind == Kind::Reads
    }

    /// Whether no other node can take its place.
    pub(crate) fn is_for_this_node(&self) -> bool {
        matches!(self.kind, Kind::ReadsHere | Kind::ActsHere | Kind::Streams)
    }

    /// Whether [`Core::admit`] lets its callers through.
    pub(crate) fn streams(&self) -> bool {
        self.kind == Kind::Streams
    }

    /// Whether it has an effect that is no row: where time runs out then, nobody knows.
    pub(crate) fn acts_outside(&self) -> bool {
        matches!(self.kind, Kind::ActsHere | Kind::ActsOnCluster)
    }

    /// Runs one that serves callers without a token, too; none where it does not.
    pub(crate) fn serve_anybody<'a>(
        &self,
        ask: Anybody<'a>,
    ) -> Option<BoxFuture<'a, Result<Response, Error>>> {
        let Handler::Anybody(handler) = &self.handler else { return None };
        Some(handler(ask))
    }

    /// Runs it.
    pub(crate) async fn serve(&self, ask: &mut Ask<'_>) -> Result<Response, Error> {
        match &self.handler {
            Handler::Now(handler) => handler(ask),
            Handler::Waits(handler) => handler(ask).await,
            Handler::Anybody(_) => Err(Error::internal("a route was not asked as it serves")),
        }
    }
}

/// What the core has at a path.
pub(crate) enum Found {
    Route(&'static CoreRoute),
    /// The path is there, the operation is not.
    OtherOperation(&'static CoreRoute),
}

/// Whether a path belongs to the core, whatever is mounted.
pub(crate) fn is_own(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// What the core has at a canonical path.
pub(crate) fn find(path: &str, operation: Operation) -> Option<Found> {
    // The path of a LIST ends in a slash; the patterns have none.
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut first = None;
    for route in all().filter(|route| pattern::matches(route.pattern, path)) {
        if route.operation == operation {
            return Some(Found::Route(route));
        }
        first.get_or_insert(route);
    }
    first.map(Found::OtherOperation)
}

/// Every route, those with names of their own before those that take any name.
pub(crate) fn all() -> impl Iterator<Item = &'static CoreRoute> {
    let tables =
        [sys::ROUTES, sys::KEY_ROUTES, sys::LIMIT_ROUTES, sys::CONFIG_ROUTES, auth_token::ROUTES];
    tables.into_iter().flatten()
}

/// For what a request cannot carry.
pub(crate) fn not_a_stream(_: &mut Ask<'_>) -> Result<Response, Error> {
    Err(errors::not_a_stream())
}

/// What the core's own paths begin with.
const PREFIXES: [&str; 2] = ["sys/", "auth/token/"];

#[cfg(test)]
mod tests {
    use super::*;

    /// One pattern and operation is one route: the second of two would never be reached.
    #[test]
    fn every_route_is_found_by_its_own_pattern() {
        for route in all() {
            let found = find(route.pattern, route.operation);
            let found = found.and_then(|found| match found {
                Found::Route(found) => Some(found.pattern),
                Found::OtherOperation(_) => None,
            });
            assert_eq!(found, Some(route.pattern));
            assert!(is_own(route.pattern) && route.help.ends_with('.'), "{}", route.pattern);
        }
    }

    /// Sealing acts on the node that was asked; it must never be handed to the leader.
    #[test]
    fn what_acts_on_one_node_stays_there() {
        let here: Vec<_> = all()
            .filter(|route| matches!(route.kind, Kind::ActsHere | Kind::ReadsHere))
            .inspect(|route| assert_eq!(route.access(), Access::Read))
            .map(|route| route.pattern)
            .collect();
        assert_eq!(here, ["sys/seal", "sys/metrics", "sys/audit"]);
    }
}

//! The core's own routes, `sys/…`, one small file each.

mod join_token;
mod members;
mod metrics;
mod mounts;
mod raft_configuration;
mod seal;
mod sessions;
mod step_down;

use conclave_barrier::Transaction;
use conclave_mount::{Access, Operation, Request, Response};

use crate::call::Call;
use crate::token::Permit;
use crate::{Core, Error, errors, pattern};

/// What the paths of this module begin with.
pub(crate) const PREFIX: &str = "sys/";

/// One route of the core.
pub(crate) struct SysRoute {
    /// Relative to `sys/`.
    pattern: &'static str,
    /// The label in metrics.
    pub(crate) template: &'static str,
    operation: Operation,
    kind: Kind,
    handler: Handler,
}

/// What a route does, and so where it runs and whether its effect is part of a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Seal,
    StepDown,
    RaftConfiguration,
    RemovePeer,
    PromotePeer,
    DemotePeer,
    Snapshot,
    SnapshotForce,
    JoinToken,
    Metrics,
    SessionOpen,
    SessionClose,
    UiMounts,
    UiMount,
    Mounts,
    Mount,
}

impl SysRoute {
    pub(crate) fn access(&self, operation: Operation) -> Access {
        match self.kind {
            Kind::ActsOnCluster | Kind::WritesRows if self.takes(operation) => Access::Write,
            _ => Access::Read,
        }
    }

    pub(crate) fn writes_rows(&self, operation: Operation) -> bool {
        self.kind == Kind::WritesRows && self.takes(operation)
    }

    /// Whether another node's answer is as good as this one's.
    pub(crate) fn reads_anywhere(&self) -> bool {
        self.kind == Kind::Reads
    }

    /// Whether [`Core::admit`] lets a caller of this operation through.
    pub(crate) fn streams(&self, operation: Operation) -> bool {
        self.kind == Kind::Streams && self.takes(operation)
    }

    /// A backup is saved and restored at one path.
    fn takes(&self, operation: Operation) -> bool {
        operation == self.operation
            || (self.handler == Handler::Snapshot && operation == Operation::Write)
    }

    /// Whether it has an effect that is no row: where time runs out then, nobody knows.
    pub(crate) fn acts_outside(&self) -> bool {
        matches!(self.kind, Kind::ActsHere | Kind::ActsOnCluster)
    }
}

/// The route that serves a path relative to `sys/`.
pub(crate) fn find(path: &str) -> Option<&'static SysRoute> {
    // A LIST's path ends in a slash; nothing here lists, and the operation is refused by name.
    let path = path.strip_suffix('/').unwrap_or(path);
    ROUTES.iter().find(|route| pattern::matches(route.pattern, path))
}

/// Runs a route for a caller with a [`Permit`].
pub(crate) async fn serve(
    core: &Core,
    _permit: Permit,
    route: &SysRoute,
    call: &Call<'_>,
    request: &Request,
    tx: &mut Transaction,
) -> Result<Response, Error> {
    if !route.takes(request.operation) {
        return Err(errors::unsupported_operation());
    }
    match route.handler {
        Handler::Seal => seal::seal(core).await,
        Handler::StepDown => step_down::step_down(core).await,
        Handler::RaftConfiguration => raft_configuration::read(core, tx).await,
        Handler::RemovePeer => members::remove(core, request).await,
        Handler::PromotePeer => members::promote(core, request).await,
        Handler::DemotePeer => members::demote(core, request).await,
        Handler::Snapshot | Handler::SnapshotForce => Err(errors::not_a_stream()),
        Handler::JoinToken => join_token::create(core, request, tx).await,
        Handler::Metrics => metrics::read(core),
        Handler::SessionOpen => sessions::open(core, call, request, tx),
        Handler::SessionClose => sessions::close(core, call, request, tx),
        Handler::UiMounts => mounts::ui_all(core, tx),
        Handler::UiMount => mounts::ui_one(core, request, tx),
        Handler::Mounts => mounts::all(core, tx),
        Handler::Mount => mounts::one(core, request, tx),
    }
}

const fn route(
    pattern: &'static str,
    template: &'static str,
    operation: Operation,
    kind: Kind,
    handler: Handler,
) -> SysRoute {
    SysRoute { pattern, template, operation, kind, handler }
}

const ROUTES: &[SysRoute] = {
    use Kind::{ActsHere, ActsOnCluster, Reads, ReadsHere, Streams, WritesRows};
    use Operation::{Read, Write};
    &[
        route("seal", "sys/seal", Write, ActsHere, Handler::Seal),
        route("step-down", "sys/step-down", Write, ActsOnCluster, Handler::StepDown),
        route(
            "storage/raft/configuration",
            "sys/storage/raft/configuration",
            Read,
            Reads,
            Handler::RaftConfiguration,
        ),
        route(
            "storage/raft/remove-peer",
            "sys/storage/raft/remove-peer",
            Write,
            ActsOnCluster,
            Handler::RemovePeer,
        ),
        route(
            "storage/raft/promote",
            "sys/storage/raft/promote",
            Write,
            ActsOnCluster,
            Handler::PromotePeer,
        ),
        route(
            "storage/raft/demote",
            "sys/storage/raft/demote",
            Write,
            ActsOnCluster,
            Handler::DemotePeer,
        ),
        route(
            "storage/raft/snapshot",
            "sys/storage/raft/snapshot",
            Read,
            Streams,
            Handler::Snapshot,
        ),
        route(
            "storage/raft/snapshot-force",
            "sys/storage/raft/snapshot-force",
            Write,
            Streams,
            Handler::SnapshotForce,
        ),
        route(
            "storage/raft/join-token",
            "sys/storage/raft/join-token",
            Write,
            WritesRows,
            Handler::JoinToken,
        ),
        route("metrics", "sys/metrics", Read, ReadsHere, Handler::Metrics),
        route("sessions/open", "sys/sessions/open", Write, WritesRows, Handler::SessionOpen),
        route("sessions/close", "sys/sessions/close", Write, WritesRows, Handler::SessionClose),
        route("internal/ui/mounts", "sys/internal/ui/mounts", Read, Reads, Handler::UiMounts),
        route(
            "internal/ui/mounts/*path",
            "sys/internal/ui/mounts/*path",
            Read,
            Reads,
            Handler::UiMount,
        ),
        route("mounts", "sys/mounts", Read, Reads, Handler::Mounts),
        route("mounts/*path", "sys/mounts/*path", Read, Reads, Handler::Mount),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// One pattern is one route: the second of two would never be reached.
    #[test]
    fn every_route_is_found_by_its_own_pattern() {
        for route in ROUTES {
            let found = find(route.pattern).map(|found| found.pattern);
            assert_eq!(found, Some(route.pattern));
            assert_eq!(route.template, [PREFIX, route.pattern].concat());
        }
    }

    /// Sealing acts on the node that was asked; it must never be handed to the leader.
    #[test]
    fn only_what_changes_the_cluster_runs_on_the_leader() {
        let on_leader: Vec<_> = ROUTES
            .iter()
            .filter(|route| route.access(route.operation) == Access::Write)
            .map(|route| route.pattern)
            .collect();
        let expected = [
            "step-down",
            "storage/raft/remove-peer",
            "storage/raft/promote",
            "storage/raft/demote",
            "storage/raft/join-token",
            "sessions/open",
            "sessions/close",
        ];
        assert_eq!(on_leader, expected);
    }
}

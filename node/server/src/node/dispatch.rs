//! Where a client request runs: here, or on the leader.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use conclave_barrier::Route;
use conclave_core::{Access, Core, Error, ErrorCode, Request, Response};
use conclave_raft::Target;
use futures::future::{Either, select};

use super::forward::{open_reply, outcome_unknown, seal_request};
use super::phase::{Phase, sealed};
use super::{Node, Running};
use crate::peer::ForwardError;

impl Node {
    /// Serves `request` on this node, or hands it whole to the leader if it may write. Waits out an
    /// election; never repeats a request that may have been executed.
    pub(super) async fn dispatch(&self, request: Request) -> Result<Response, Error> {
        let phase = self.phase();
        let (running, core) = phase.serving()?;
        match core.access(&request) {
            Access::Read => {
                let began = self.ports.clock.monotonic();
                let answer = self.while_unsealed(core, core.handle(&request)).await;
                match answer.unwrap_or_else(|| Err(sealed())) {
                    Err(error) if read_elsewhere(core, &request, &error) => {
                        let spent = self.ports.clock.monotonic().saturating_sub(began);
                        let handed_on = self.dispatch_read(running, core, request, spent).await;
                        handed_on.unwrap_or(Err(error))
                    }
                    Err(error) if writes_after_all(core, &request, &error) => {
                        drop(phase);
                        self.dispatch_write(request).await
                    }
                    answer => answer,
                }
            }
            Access::Write => {
                // Not kept while the request waits for a leader: sealing drops the core.
                drop(phase);
                self.dispatch_write(request).await
            }
        }
    }

    /// What `work` answers; none where this node has been sealed for a while: a request that goes on
    /// keeps the core, and so every key. What it began may take effect all the same.
    pub(super) async fn while_unsealed<T>(
        &self,
        core: &Arc<Core>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let serves = || matches!(self.phase(), Phase::Unsealed(_, now) if Arc::ptr_eq(&now, core));
        let dropped = async {
            // The sender lives as long as this node does.
            let _ = self.phases.subscribe().wait_for(|_| !serves()).await;
            self.ports.clock.sleep(SEAL_GRACE).await;
        };
        match select(pin!(work), pin!(dropped)).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        }
    }

    /// Hands a read that this node cannot serve to the leader, once: it lags behind, or its disk
    /// takes nothing, and what it has is never served instead. `None` where that does not help
    /// either, or no time is left.
    async fn dispatch_read(
        &self,
        running: &Running,
        core: &Arc<Core>,
        mut request: Request,
        spent: Duration,
    ) -> Option<Result<Response, Error>> {
        let leader = leader_of(running)?;
        request.time_limit = request.time_limit.checked_sub(spent + LEADER_POLL)?;
        metrics::counter!("conclave_reads_handed_on_total").increment(1);
        let handed_on = self.forward(running, core, &leader, &request);
        let answer = self.while_unsealed(core, handed_on).await?;
        let helps =
            |error: &Error| !matches!(error.code, ErrorCode::NoLeader | ErrorCode::OutcomeUnknown);
        answer.as_ref().err().is_none_or(helps).then_some(answer)
    }

    async fn dispatch_write(&self, request: Request) -> Result<Response, Error> {
        let (began, limit) = (self.ports.clock.monotonic(), request.time_limit);
        let waits_until = |error: &Error| match error.code {
            ErrorCode::NoLeader => Some(began + LEADER_WAIT_MAX.min(limit)),
            ErrorCode::Quarantined => Some(began + STRANGER_WAIT_MAX.min(limit)),
            _ => None,
        };
        let mut request = request;
        loop {
            let phase = self.phase();
            let (running, core) = phase.serving()?;
            let status = running.raft.status();
            let serve = async {
                if status.is_leader {
                    return core.handle(&request).await;
                }
                match leader_of(running) {
                    Some(target) => self.forward(running, core, &target, &request).await,
                    None => Err(no_leader()),
                }
            };
            let attempt = self.while_unsealed(core, serve).await;
            let attempt = attempt.unwrap_or_else(|| Err(outcome_unknown()));
            let deadline = attempt.as_ref().err().and_then(waits_until);
            let now = self.ports.clock.monotonic();
            if deadline.is_none_or(|deadline| now >= deadline) {
                return attempt;
            }
            request.time_limit = limit.saturating_sub(now - began).max(LEADER_POLL);
            let _ = self.ports.within(LEADER_POLL, running.raft.changed()).await;
        }
    }

    /// Sends `request` to `leader`, once. `NoLeader` says that it surely was not executed there.
    async fn forward(
        &self,
        running: &Running,
        core: &Core,
        leader: &Target,
        request: &Request,
    ) -> Result<Response, Error> {
        let sealer = core.barrier().peer_sealer();
        let route = Route { from: running.node_id, to: leader.node_id };
        let (message, id) = seal_request(sealer, route, request)?;
        match self.transport.forward(leader, message, request.time_limit).await {
            Ok(reply) => open_reply(sealer, route.back(), id, &reply),
            Err(error @ (ForwardError::NotSent { .. } | ForwardError::Refused { .. })) => {
                tracing::debug!(%error, "a request was not forwarded");
                Err(no_leader())
            }
            Err(error @ ForwardError::Stranger { .. }) => {
                tracing::debug!(%error, "a request was not forwarded");
                Err(no_member())
            }
            Err(error @ ForwardError::Lost { .. }) => {
                tracing::debug!(%error, "a forwarded request has no answer");
                Err(outcome_unknown())
            }
        }
    }
}

/// Whether the leader may know more where this node answered like this.
fn read_elsewhere(core: &Core, request: &Request, error: &Error) -> bool {
    error.code == ErrorCode::Unavailable && core.reads_anywhere(request)
}

/// Whether what looked like a read needs the leader: it costs its token a use, or its mount is newer
/// than this node's table was. Nothing was executed then.
fn writes_after_all(core: &Core, request: &Request, error: &Error) -> bool {
    error.code == ErrorCode::NoLeader && !core.is_for_this_node(request)
}

/// The leader this node knows, if it is another one.
pub(super) fn leader_of(running: &Running) -> Option<Target> {
    let status = running.raft.status();
    let leader_id = status.leader_id?;
    status
        .members
        .iter()
        .find(|view| view.member.node_id == leader_id && leader_id != status.node_id)
        .map(|view| Target { node_id: leader_id, member: view.member.clone() })
}

pub(super) fn no_leader() -> Error {
    Error::new(
        ErrorCode::NoLeader,
        "no leader is known; nothing was executed: try again, and check that a majority of the nodes runs",
    )
}

/// A node that was removed while it runs is left by its clients at once, instead of holding every
/// write that they send it until there is a leader that knows it.
fn no_member() -> Error {
    Error::new(
        ErrorCode::Quarantined,
        "the leader does not count this node among the members: it was removed, or was let in a moment ago; nothing was executed: ask another node",
    )
}

const LEADER_WAIT_MAX: Duration = Duration::from_secs(5);
/// A leader that is new may not have applied yet that this node was let in.
const STRANGER_WAIT_MAX: Duration = Duration::from_millis(200);
const LEADER_POLL: Duration = Duration::from_millis(50);
/// For requests under way when a node is sealed, the one that seals it among them.
const SEAL_GRACE: Duration = Duration::from_secs(1);

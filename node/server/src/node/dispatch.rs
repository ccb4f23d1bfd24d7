//! Where a client request runs: here, or on the leader.

use std::time::Duration;

use conclave_core::{Access, Error, ErrorCode, Request, Response};
use conclave_raft::{PeerError, Target};

use super::phase::Phase;
use super::{Node, Running};
use super::forward::{from_forward_reply, into_forward_request};

impl Node {
    /// Serves `request` on this node, or hands it whole to the leader if it may write. Waits out an
    /// election; never repeats a request that may have been executed.
    pub(super) async fn dispatch(&self, request: Request) -> Result<Response, Error> {
        let phase = self.phase();
        let (running, core) = phase.serving()?;
        if running.raft.status().quarantined {
            return Err(quarantined());
        }
        match core.access(&request) {
            Access::Read => core.handle(&request).await,
            Access::Write => self.dispatch_write(&phase, request).await,
        }
    }

    async fn dispatch_write(&self, phase: &Phase, request: Request) -> Result<Response, Error> {
        let (running, core) = phase.serving()?;
        let patience = LEADER_WAIT_MAX.min(request.time_limit);
        let deadline = self.ports.clock.monotonic() + patience;
        let mut request = request;
        loop {
            let status = running.raft.status();
            let attempt = if status.is_leader {
                core.handle(&request).await
            } else {
                match leader_of(running) {
                    Some(target) => self.forward(running, &target, &request).await,
                    None => Err(no_leader()),
                }
            };
            match attempt {
                Err(error) if error.code == ErrorCode::NoLeader => {
                    let now = self.ports.clock.monotonic();
                    if now >= deadline {
                        return Err(error);
                    }
                    request.time_limit =
                        request.time_limit.saturating_sub(LEADER_POLL).max(LEADER_POLL);
                    let _ = self.ports.within(LEADER_POLL, running.raft.changed()).await;
                }
                answered => return answered,
            }
        }
    }

    async fn forward(
        &self,
        running: &Running,
        leader: &Target,
        request: &Request,
    ) -> Result<Response, Error> {
        let message = into_forward_request(running.node_id, request);
        match self.transport.forward(leader, message, request.time_limit).await {
            Ok(reply) => from_forward_reply(reply),
            Err(PeerError::Refused { .. }) => Err(no_leader()),
            Err(PeerError::Unreachable { .. }) => Err(Error::new(
                ErrorCode::OutcomeUnknown,
                "the leader did not answer: the request may or may not have been executed; read before you repeat it",
            )),
        }
    }
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

fn quarantined() -> Error {
    Error::new(
        ErrorCode::Quarantined,
        "this node's state differs from its peers' and it has set itself apart; use another node, then remove and rejoin this one",
    )
}

const LEADER_WAIT_MAX: Duration = Duration::from_secs(5);
const LEADER_POLL: Duration = Duration::from_millis(50);

//! What `sys/` routes ask of the node.

use std::time::Duration;

use conclave_core::{Error, Member, MemberHealth, MemberList, Operator};
use conclave_proto::v1;
use conclave_raft::{PeerTransport, Target};
use futures::future::BoxFuture;

use super::admit::from_membership;
use super::phase::Phase;
use super::{Node, Running};

impl Operator for Node {
    fn seal(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.seal_on_purpose())
    }

    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let phase = self.phase();
            let (running, _) = phase.serving()?;
            running.raft.transfer_leadership().await.map_err(from_membership)
        })
    }

    fn members(&self) -> BoxFuture<'_, Result<MemberList, Error>> {
        Box::pin(async move {
            let phase = self.phase();
            let (running, _) = phase.serving()?;
            let status = running.raft.status();
            let leader_id = status.leader_id;
            let asked = status.members.into_iter().map(|view| async move {
                let health = self.health_of(running, &view.member).await;
                Member {
                    leader: leader_id == Some(view.member.node_id),
                    node_id: view.member.node_id,
                    name: view.member.name,
                    cluster_addr: view.member.cluster_addr,
                    api_addr: view.member.api_addr,
                    voter: view.voter,
                    health,
                }
            });
            let members = futures::future::join_all(asked).await;
            Ok(MemberList { members, index: status.membership_index, epoch: status.epoch })
        })
    }

    fn remove_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let phase = self.phase();
            let (running, _) = phase.serving()?;
            let node_id = member_id(running, &server_id)?;
            running.raft.remove_member(node_id).await.map_err(from_membership)
        })
    }

    fn promote_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let phase = self.phase();
            let (running, _) = phase.serving()?;
            let node_id = member_id(running, &server_id)?;
            running.raft.promote_member(node_id).await.map_err(from_membership)
        })
    }

    fn demote_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let phase = self.phase();
            let (running, _) = phase.serving()?;
            let node_id = member_id(running, &server_id)?;
            running.raft.demote_member(node_id).await.map_err(from_membership)
        })
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

impl Node {
    /// How a member is doing, by its own words; none where it does not answer in time.
    async fn health_of(&self, running: &Running, member: &v1::Member) -> Option<MemberHealth> {
        if member.node_id == running.node_id {
            let applied = running.state.applied();
            return Some(MemberHealth {
                sealed: !matches!(self.phase(), Phase::Unsealed(..)),
                applied_index: applied.log_id.map_or(0, |id| id.index),
                state_hash: applied.state_hash.0.to_vec(),
                unfit: running.raft.status().unfit,
            });
        }
        let target = Target { node_id: member.node_id, member: member.clone() };
        let request = v1::StatusRequest { from: running.node_id, ..Default::default() };
        let answer = PeerTransport::status(self.transport.as_ref(), &target, request);
        let status = self.ports.within(HEALTH_WAIT_MAX, answer).await.ok()?.ok()?;
        Some(MemberHealth {
            sealed: status.sealed,
            applied_index: status.applied_index,
            state_hash: status.applied_hash.to_vec(),
            unfit: status.unfit,
        })
    }
}

/// The Raft id of the member with this name or decimal id.
fn member_id(running: &Running, server_id: &str) -> Result<u64, Error> {
    let members = running.raft.status().members;
    let named = members.iter().find(|view| view.member.name == server_id);
    let found =
        named.or_else(|| members.iter().find(|view| view.member.node_id.to_string() == server_id));
    found.map(|view| view.member.node_id).ok_or_else(|| {
        Error::invalid("no member has this name or id; `conclave operator members` lists them")
    })
}

/// A member that does not answer within this time is shown as unreachable.
const HEALTH_WAIT_MAX: Duration = Duration::from_secs(1);

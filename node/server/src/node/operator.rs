//! What `sys/` routes ask of the node.

use conclave_core::{Error, Member, MemberList, Operator};
use futures::future::BoxFuture;

use super::Node;
use super::admit::from_membership;

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
            let members = status
                .members
                .into_iter()
                .map(|view| Member {
                    leader: status.leader_id == Some(view.member.node_id),
                    node_id: view.member.node_id,
                    name: view.member.name,
                    cluster_addr: view.member.cluster_addr,
                    api_addr: view.member.api_addr,
                    voter: view.voter,
                    health: None,
                })
                .collect();
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

/// The Raft id of the member with this name or decimal id.
fn member_id(running: &super::Running, server_id: &str) -> Result<u64, Error> {
    let members = running.raft.status().members;
    let named = members.iter().find(|view| view.member.name == server_id);
    let found =
        named.or_else(|| members.iter().find(|view| view.member.node_id.to_string() == server_id));
    found.map(|view| view.member.node_id).ok_or_else(|| {
        Error::invalid("no member has this name or id; `conclave operator members` lists them")
    })
}

//! Who belongs to the cluster: nodes are admitted and removed as an operator and the server do it.

use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Clock;
use conclave_proto::v1;
use conclave_raft::{AddMember, MemberView, MembershipError, RaftStatus};

use super::Cluster;
use crate::node::{Machine, Running, Standing, lock};

const PAUSE: Duration = Duration::from_millis(200);
const LEADER_DIED: &str = "the leader died";

impl Cluster {
    /// What the leader does for a machine with an empty disk: any node of its name is removed, an
    /// index of the log becomes its id, and the cluster makes it a learner. It is answered last, so
    /// that whoever holds an answer is known to every future leader; it is made a voter once it has
    /// caught up. Where the answer is lost, it asks again, and the member that nobody is gives way.
    pub(crate) async fn admit(&self, machine: &Arc<Machine>) -> Result<(), String> {
        let leader = self.leader().ok_or("nobody leads")?;
        let name = machine.name();
        let allocated = leader.with(|running| allocate_id(running, name)).await;
        let node_id = allocated.unwrap_or(Err(LEADER_DIED.to_owned()))?;
        let member = machine.member(node_id);
        let joined = leader.with(|running| let_in(running, member)).await;
        let joined = joined.unwrap_or(Err(LEADER_DIED.to_owned()))?;
        if machine.node_id().is_some() {
            return Err("it became a node meanwhile".to_owned());
        }
        self.world.event(format_args!("{} is admitted as {node_id}", machine.name()));
        machine.become_node(node_id, Some(joined));
        machine.start();
        self.world.count(|coverage| coverage.joins += 1);
        Ok(())
    }

    /// The machine is to belong to the cluster, or no more.
    pub(crate) fn want(&self, machine: &Machine, wanted: bool) {
        let mut all = lock(&self.wanted);
        if wanted {
            all.insert(machine.number);
        } else {
            all.remove(&machine.number);
        }
    }

    /// Asks the leader to change its members.
    pub(crate) async fn change<F>(
        &self,
        act: impl FnOnce(Arc<Running>) -> F,
    ) -> Result<(), MembershipError>
    where
        F: Future<Output = Result<(), MembershipError>> + Send + 'static,
    {
        let leader = self.leader().ok_or(MembershipError::Unavailable)?;
        leader.with(act).await.unwrap_or(Err(MembershipError::Unavailable))
    }

    pub(crate) async fn remove(&self, node_id: u64) -> Result<(), MembershipError> {
        self.change(|running| async move { running.raft.remove_member(node_id).await }).await
    }

    /// Tries so long to bring the members to what is wanted.
    pub(crate) async fn mend(&self, limit: Duration) -> bool {
        let end = self.world.clock.elapsed() + limit;
        while self.world.clock.elapsed() < end && self.goes_on() {
            if self.mend_step().await {
                return true;
            }
            self.world.clock.sleep(PAUSE).await;
        }
        false
    }

    /// One step towards the members that are wanted; true where there is nothing to do.
    pub(super) async fn mend_step(&self) -> bool {
        let Some(status) = self.leading() else { return false };
        if let Some(stranger) = self.stranger(&status) {
            self.world.event(format_args!("node {stranger} is removed"));
            // It is tried again.
            drop(self.remove(stranger).await);
            return false;
        }
        for machine in self.members() {
            if is_lost(&machine) || self.is_nobody(&machine) {
                machine.wipe();
                if let Err(error) = self.admit(&machine).await {
                    self.world.event(format_args!("{} is not admitted: {error}", machine.name()));
                }
                return false;
            }
            let Some(view) = view_of(&status, &machine) else { return false };
            if !view.voter {
                let node_id = view.member.node_id;
                let promote =
                    self.change(|it| async move { it.raft.promote_member(node_id).await });
                drop(promote.await);
                return false;
            }
        }
        true
    }

    /// The leader's view, where it has a quorum.
    fn leading(&self) -> Option<RaftStatus> {
        let status = self.leader()?.running()?.raft.status();
        status.has_quorum.then_some(status)
    }

    /// A member whose machine is not to be one, or is another node by now.
    fn stranger(&self, status: &RaftStatus) -> Option<u64> {
        let members = self.members();
        let is_wanted = |view: &MemberView| {
            members.iter().any(|machine| {
                machine.name() == view.member.name
                    // A machine that is wiped is replaced under its name.
                    && machine.node_id().is_none_or(|id| id == view.member.node_id)
            })
        };
        let stranger = status.members.iter().find(|view| !is_wanted(view));
        stranger.map(|view| view.member.node_id)
    }

    /// Whether no node that runs has ever heard of it as a member, and all run: it was lost between
    /// its admission and its becoming a member.
    fn is_nobody(&self, machine: &Machine) -> bool {
        let Some(node_id) = machine.node_id() else { return true };
        let others = self.members();
        let mut others = others.iter().filter(|other| other.number != machine.number);
        others.all(|other| {
            let status = other.running().map(|running| running.raft.status());
            let knows = |status: RaftStatus| {
                status.members.iter().any(|view| view.member.node_id == node_id)
            };
            other.node_id().is_none()
                || other.standing() != Standing::Good
                || status.is_some_and(|status| !knows(status))
        })
    }

    /// Whether any one member may lose its disk for good: all others are voters, run and agree
    /// about it.
    pub(crate) fn may_lose_one(&self) -> bool {
        let Some(leading) = self.leading() else { return false };
        let members = self.members();
        members.len() >= 3
            && leading.members.len() == members.len()
            && members.iter().all(|machine| {
                let status = machine.running().map(|running| running.raft.status());
                machine.standing() == Standing::Good
                    && view_of(&leading, machine).is_some_and(|view| view.voter)
                    && status.is_some_and(|it| it.membership_index == leading.membership_index)
                    && machine.running().is_some_and(|it| is_settled(&it, &leading))
            })
    }
}

/// Whether only an empty disk helps.
fn is_lost(machine: &Machine) -> bool {
    let status = machine.running().map(|running| running.raft.status());
    machine.standing() != Standing::Good
        || status.is_some_and(|status| status.quarantined || status.fenced)
}

fn view_of<'a>(status: &'a RaftStatus, machine: &Machine) -> Option<&'a MemberView> {
    let node_id = machine.node_id()?;
    status.members.iter().find(|view| view.member.node_id == node_id)
}

/// The index of an entry of its own: unique for ever.
async fn allocate_id(running: Arc<Running>, name: String) -> Result<u64, String> {
    let members = running.raft.status().members;
    let old = members.into_iter().find(|view| view.member.name == name);
    if let Some(old) = old {
        let removed = running.raft.remove_member(old.member.node_id).await;
        removed.map_err(|error| error.to_string())?;
    }
    let proposed = running.raft.propose(v1::Command::default()).await;
    proposed.map(|proposed| proposed.revision).map_err(|error| error.to_string())
}

/// Adds a member; answers with what it is told, once every future leader knows it.
async fn let_in(running: Arc<Running>, member: v1::Member) -> Result<v1::Membership, String> {
    let node_id = member.node_id;
    let add = AddMember { member: member.clone(), voter: true };
    running.raft.admit_member(add).await.map_err(|error| error.to_string())?;
    let others = running.raft.status().members.into_iter().map(|view| view.member);
    let mut members: Vec<_> = others.filter(|other| other.node_id != node_id).collect();
    members.push(member);
    Ok(v1::Membership { configs: Vec::new(), members })
}

/// Whether no change of the members is under way, as far as a node has applied.
fn is_settled(running: &Running, leading: &RaftStatus) -> bool {
    let Some(stored) = running.state.applied().membership else { return false };
    let index = stored.log_id.map_or(0, |id| id.index);
    let configs = stored.membership.map_or(0, |membership| membership.configs.len());
    index == leading.membership_index && configs == 1
}

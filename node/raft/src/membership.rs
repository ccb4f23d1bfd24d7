//! Who votes.
//!
//! A joiner is a learner until it has caught up, so that it never counts towards a quorum it
//! cannot serve. A voter goes only where the rest has a live quorum of its own. One change is under
//! way at a time. Who leads next is another question, see [`crate::succession`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conclave_proto::v1;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ChangeMembershipError, ClientWriteError, ForwardReason, InitializeError, RaftError,
};
use openraft::{AsyncRuntime, ChangeMembers, Instant, ServerState, alias};

use crate::convert::decode;
use crate::node::Node;
use crate::observe::{MetricsOf, peers};
use crate::types::{MemberInfo, Membership, TypeConfig};
use crate::{AddMember, MembershipError, Target};

/// A log that is at most this many entries behind the leader's has caught up.
pub(crate) const LAG_ENTRIES_MAX: u64 = 64;
/// How long an addition waits for the joiner to catch up, in election timeouts. After that the
/// promotion goes on in the background.
const CATCH_UP_ELECTIONS: u32 = 12;
/// How long a removal waits for the remaining voters to show that they live, in election timeouts.
const QUORUM_CHECK_ELECTIONS: u32 = 2;
/// How long a change may wait for its quorum, in election timeouts.
const CHANGE_ELECTIONS: u32 = 6;

type Change = ChangeMembers<u64, MemberInfo>;
pub(crate) type Changed<T> = Result<T, MembershipError>;

impl<R: AsyncRuntime> Node<R> {
    pub(crate) async fn bootstrap_alone(&self, member: v1::Member) -> Changed<()> {
        let (node_id, mut info) = decode::member(&member);
        info.voter_wanted = true;
        if node_id != self.config.node_id {
            return refused("a node bootstraps a cluster of itself only");
        }
        match self.raft.initialize(BTreeMap::from([(node_id, info)])).await {
            Ok(()) => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                return refused(
                    "this node already belongs to a cluster; use a fresh data directory",
                );
            }
            Err(error) => return refused(error),
        }
        // Index 0 is the membership, index 1 the first entry of the first leader.
        let led = |metrics: &MetricsOf<R>| {
            metrics.state == ServerState::Leader && applied_index(metrics) >= 1
        };
        self.bounded(CHANGE_ELECTIONS, self.until(led)).await
    }

    /// Adds a member, and waits a while for it to vote where it is to.
    pub(crate) async fn add(&self, add: AddMember) -> Changed<()> {
        let (node_id, voter) = (add.member.node_id, add.voter);
        self.admit(add).await?;
        if voter { self.until_it_votes(node_id).await } else { Ok(()) }
    }

    /// Once this succeeded every future leader knows the member. The wish to vote stands in the
    /// membership itself, so that no change of leaders forgets it.
    pub(crate) async fn admit(&self, add: AddMember) -> Changed<()> {
        let (node_id, mut info) = decode::member(&add.member);
        info.voter_wanted = add.voter;
        if node_id == 0 {
            return refused("a member needs an id above 0");
        }
        self.must_lead()?;
        if self.is_taken(node_id, &info) {
            return refused("another member has this name or this key; remove it first");
        }
        let node = BTreeMap::from([(node_id, info.clone())]);
        match self.known(node_id) {
            Some(known) if !known.info.is_same_node(&info) => {
                refused("another member has this id; ids are never reused")
            }
            Some(known) if known.voter || known.info.voter_wanted || !add.voter => {
                self.until_committed().await
            }
            Some(_) => self.change(Change::SetNodes(node)).await,
            None => self.change(Change::AddNodes(node)).await,
        }
    }

    /// One node under two ids would vote twice.
    fn is_taken(&self, node_id: u64, info: &MemberInfo) -> bool {
        let metrics = self.metrics.borrow_watched();
        let mut others =
            metrics.membership_config.membership().nodes().filter(|(id, _)| **id != node_id);
        others.any(|(_, other)| other.name == info.name || other.spki_pin == info.spki_pin)
    }

    /// The membership in force may be one that the next leader does not have.
    async fn until_committed(&self) -> Changed<()> {
        let settled =
            |metrics: &MetricsOf<R>| is_committed(metrics) || metrics.state != ServerState::Leader;
        self.bounded(CHANGE_ELECTIONS, self.until(settled)).await?;
        self.must_lead()
    }

    async fn until_it_votes(&self, node_id: u64) -> Changed<()> {
        let votes = |metrics: &MetricsOf<R>| {
            let members = metrics.membership_config.membership();
            let votes = is_settled(metrics) && !waiting_learners(members).contains(&node_id);
            // Whoever leads next goes on.
            votes || metrics.state != ServerState::Leader
        };
        if self.bounded(CATCH_UP_ELECTIONS, self.until(votes)).await.is_err() {
            tracing::warn!(node_id, "the new member is still catching up; it will vote later");
        }
        Ok(())
    }

    /// One step towards the membership that is wanted, if this node leads and no change is under
    /// way: ends a change whose leader died half-way, or makes a voter of a learner that has
    /// caught up.
    pub(crate) async fn tend_members(&self) {
        let Ok(_permit) = self.changing.try_acquire() else { return };
        let limit = self.config.election_timeout_max;
        let step = next_step(&self.metrics.borrow_watched(), limit);
        let Some((step, keep)) = step else { return };
        if let Err(error) = self.bounded(CHANGE_ELECTIONS, self.commit(step, keep)).await {
            tracing::debug!(%error, "the membership is not yet as wanted");
        }
    }

    pub(crate) async fn remove(&self, node_id: u64) -> Changed<()> {
        self.must_lead()?;
        let Some(known) = self.known(node_id) else {
            return refused("no such member");
        };
        let ids = BTreeSet::from([node_id]);
        if !known.voter {
            return self.change(Change::RemoveNodes(ids)).await;
        }
        self.may_go(node_id).await?;
        // So that whoever ends a change that is cut short knows that this one does not stay.
        self.want_vote(node_id, &known.info, true).await?;
        self.change(Change::RemoveVoters(ids)).await
    }

    /// A learner becomes a voter.
    pub(crate) async fn promote(&self, node_id: u64) -> Changed<()> {
        self.must_lead()?;
        let Some(known) = self.known(node_id) else {
            return refused("no such member");
        };
        self.want_vote(node_id, &known.info, true).await?;
        if known.voter { Ok(()) } else { self.until_it_votes(node_id).await }
    }

    /// A voter becomes a learner. The wish is written first: a learner that is wanted as voter
    /// would be promoted again, and a voter that is not stays as learner, whoever ends the change.
    pub(crate) async fn demote(&self, node_id: u64) -> Changed<()> {
        self.must_lead()?;
        let Some(known) = self.known(node_id) else {
            return refused("no such member");
        };
        if known.voter {
            self.may_go(node_id).await?;
        }
        self.want_vote(node_id, &known.info, false).await?;
        if !known.voter {
            return Ok(());
        }
        self.change_keeping(Change::RemoveVoters(BTreeSet::from([node_id])), true).await
    }

    async fn want_vote(&self, node_id: u64, known: &MemberInfo, wanted: bool) -> Changed<()> {
        if known.voter_wanted == wanted {
            return Ok(());
        }
        let info = MemberInfo { voter_wanted: wanted, ..known.clone() };
        self.change(Change::SetNodes(BTreeMap::from([(node_id, info)]))).await
    }

    /// Whether the cluster can do without this voter. A leader that is to go hands over first.
    async fn may_go(&self, node_id: u64) -> Changed<()> {
        if self.voters().len() == 1 {
            return refused("the last voter must stay; add another one first");
        }
        if node_id == self.config.node_id {
            // Whoever leads next takes this node's vote: the caller asks it.
            self.transfer().await?;
            return Err(MembershipError::NotLeader);
        }
        // Taking the vote of a live node while others are dead would end the quorum for good.
        let age_max = self.config.election_timeout_max;
        let own = self.config.node_id;
        let keeps = |metrics: &MetricsOf<R>| keeps_quorum_without(metrics, node_id, own, age_max);
        if self.bounded(QUORUM_CHECK_ELECTIONS, self.until(keeps)).await.is_err() {
            return refused("too few of the remaining voters answer; bring them back first");
        }
        Ok(())
    }

    /// Commits a change after which a voter that goes is gone.
    async fn change(&self, change: Change) -> Changed<()> {
        self.change_keeping(change, false).await
    }

    /// Commits a change, waiting for one that is under way to end first. `keep`: a voter that goes
    /// stays as learner.
    async fn change_keeping(&self, change: Change, keep: bool) -> Changed<()> {
        let changing = async {
            let _permit =
                self.changing.acquire().await.map_err(|_| MembershipError::Unavailable)?;
            self.commit(change, keep).await
        };
        self.bounded(CHANGE_ELECTIONS, changing).await
    }

    /// The caller holds `changing`. A change takes two entries; where its caller gives up between
    /// them, or the leader dies, [`Self::tend_members`] writes the second.
    async fn commit(&self, change: Change, keep: bool) -> Changed<()> {
        loop {
            let result = self.raft.change_membership(change.clone(), keep).await;
            match result.map_err(refusal::<R>) {
                Ok(_) => return Ok(()),
                Err(Refusal::Later) => self.ports.clock.sleep(self.config.heartbeat).await,
                Err(Refusal::Final(error)) => return Err(error),
            }
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.metrics.borrow_watched().state == ServerState::Leader
    }

    pub(crate) fn must_lead(&self) -> Changed<()> {
        if self.is_leader() { Ok(()) } else { Err(MembershipError::NotLeader) }
    }

    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        self.metrics.borrow_watched().membership_config.membership().voter_ids().collect()
    }

    pub(crate) fn peers(&self) -> Vec<Target> {
        let metrics = self.metrics.borrow_watched();
        peers(metrics.membership_config.membership(), self.config.node_id)
    }

    fn known(&self, node_id: u64) -> Option<Known> {
        let metrics = self.metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        let info = members.get_node(&node_id)?.clone();
        Some(Known { info, voter: members.voter_ids().any(|id| id == node_id) })
    }

    pub(crate) async fn bounded<T>(
        &self,
        elections: u32,
        work: impl Future<Output = Changed<T>>,
    ) -> Changed<T> {
        let limit = self.config.election_timeout_max * elections;
        self.ports.within(limit, work).await.unwrap_or(Err(MembershipError::Unavailable))
    }

    /// Completes once the metrics look as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&MetricsOf<R>) -> bool + Send) -> Changed<()> {
        let mut metrics = self.metrics.clone();
        loop {
            if wanted(&metrics.borrow_and_update()) {
                return Ok(());
            }
            if metrics.changed().await.is_err() {
                return Err(MembershipError::Unavailable);
            }
        }
    }
}

struct Known {
    info: MemberInfo,
    voter: bool,
}

fn applied_index<R: AsyncRuntime>(metrics: &MetricsOf<R>) -> u64 {
    metrics.last_applied.map_or(0, |id| id.index)
}

/// Whether the last change of membership has ended.
fn is_settled<R: AsyncRuntime>(metrics: &MetricsOf<R>) -> bool {
    let stored = &metrics.membership_config;
    is_committed(metrics) && stored.membership().get_joint_config().len() == 1
}

fn is_committed<R: AsyncRuntime>(metrics: &MetricsOf<R>) -> bool {
    let set_by = metrics.membership_config.log_id().as_ref().map(|id| id.index);
    set_by <= metrics.local_committed.map(|id| id.index)
}

/// What a leader does next about its members, and whether a voter that goes stays as learner.
fn next_step<R: AsyncRuntime>(metrics: &MetricsOf<R>, age_max: Duration) -> Option<(Change, bool)> {
    if metrics.state != ServerState::Leader || !is_committed(metrics) {
        return None;
    }
    let members = metrics.membership_config.membership();
    if !is_settled(metrics) {
        return Some((Change::AddVoterIds(BTreeSet::new()), goes_as_learner(members)));
    }
    let waiting = waiting_learners(members);
    // A learner that does not answer would only be missing from the quorum.
    let ready = |id: &u64| caught_up(metrics, *id) && acked_within(metrics, *id, age_max);
    let next = waiting.into_iter().find(ready)?;
    Some((Change::AddVoterIds(BTreeSet::from([next])), false))
}

/// Whether the voter that a change under way takes out was demoted, not removed.
fn goes_as_learner(members: &Membership) -> bool {
    let configs = members.get_joint_config();
    let stays = configs.last().cloned().unwrap_or_default();
    let mut going = members.voter_ids().filter(|id| !stays.contains(id));
    going.any(|id| members.get_node(&id).is_some_and(|info| !info.voter_wanted))
}

/// Learners that are to vote, ascending.
fn waiting_learners(members: &Membership) -> BTreeSet<u64> {
    let voters: BTreeSet<u64> = members.voter_ids().collect();
    let wanted = members.nodes().filter(|(_, info)| info.voter_wanted).map(|(id, _)| *id);
    wanted.filter(|id| !voters.contains(id)).collect()
}

fn caught_up<R: AsyncRuntime>(metrics: &MetricsOf<R>, node_id: u64) -> bool {
    let replication = metrics.replication.as_ref().and_then(|targets| targets.get(&node_id));
    let Some(Some(matched)) = replication else { return false };
    matched.index.saturating_add(LAG_ENTRIES_MAX) >= metrics.last_log_index.unwrap_or(0)
}

fn keeps_quorum_without<R: AsyncRuntime>(
    metrics: &MetricsOf<R>,
    gone: u64,
    own: u64,
    age_max: Duration,
) -> bool {
    let voters = metrics.membership_config.membership().voter_ids();
    let rest: Vec<u64> = voters.filter(|id| *id != gone).collect();
    let live = rest.iter().filter(|id| **id == own || acked_within(metrics, **id, age_max));
    live.count() * 2 > rest.len()
}

pub(crate) fn acked_within<R: AsyncRuntime>(
    metrics: &MetricsOf<R>,
    node_id: u64,
    age_max: Duration,
) -> bool {
    let acks = metrics.heartbeat.as_ref().and_then(|acks| acks.get(&node_id));
    let Some(Some(acked)) = acks else { return false };
    let acked: &alias::InstantOf<TypeConfig<R>> = acked;
    acked.elapsed() <= age_max
}

enum Refusal {
    /// Another change has to be committed first.
    Later,
    Final(MembershipError),
}

fn refusal<R: AsyncRuntime>(
    error: RaftError<TypeConfig<R>, ClientWriteError<TypeConfig<R>>>,
) -> Refusal {
    use ChangeMembershipError as Why;
    match error {
        // A leader whose quorum has not answered it yet, or not lately.
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward))
            if forward.reason == ForwardReason::LeaseExpired =>
        {
            Refusal::Later
        }
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
            Refusal::Final(MembershipError::NotLeader)
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            Why::InProgress(_) | Why::UncommittedLeaderLog(_),
        )) => Refusal::Later,
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) | RaftError::Fatal(_) => {
            Refusal::Final(MembershipError::Unavailable)
        }
        RaftError::APIError(error) => Refusal::Final(MembershipError::Refused(error.to_string())),
    }
}

fn refused<T>(why: impl ToString) -> Changed<T> {
    Err(MembershipError::Refused(why.to_string()))
}

//! Who votes, and who leads.
//!
//! A joiner is a learner until it has caught up, so that it never counts towards a quorum it
//! cannot serve. Leadership is handed only to a voter that answered just now, is unsealed and has
//! the log: a transfer to a dead node costs more than an election.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conclave_ports::Elapsed;
use conclave_proto::v1;
use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ChangeMembershipError, ClientWriteError, ForwardReason, InitializeError, RaftError,
};
use openraft::{AsyncRuntime, ChangeMembers, Instant, ServerState, alias};

use crate::convert::decode;
use crate::node::Node;
use crate::observe::{MetricsOf, peers, target};
use crate::types::{MemberInfo, Membership, TypeConfig};
use crate::{AddMember, MembershipError, Target};

/// A log that is at most this many entries behind the leader's has caught up.
const LAG_ENTRIES_MAX: u64 = 64;
/// How long an addition waits for the joiner to catch up, in election timeouts. After that the
/// promotion goes on in the background.
const CATCH_UP_ELECTIONS: u32 = 12;
/// How long a removal waits for the remaining voters to show that they live, in election timeouts.
const QUORUM_CHECK_ELECTIONS: u32 = 2;
/// How long a change may wait for its quorum, in election timeouts.
const CHANGE_ELECTIONS: u32 = 6;

type Change = ChangeMembers<u64, MemberInfo>;
type Changed<T> = Result<T, MembershipError>;

impl<R: AsyncRuntime> Node<R> {
    pub(crate) async fn bootstrap_alone(&self, member: v1::Member) -> Changed<()> {
        let (node_id, info) = decode::member(&member);
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

    /// The wish to vote stands in the membership itself, so that no change of leaders forgets it.
    pub(crate) async fn add(&self, add: AddMember) -> Changed<()> {
        let (node_id, mut info) = decode::member(&add.member);
        info.voter_wanted = add.voter;
        if node_id == 0 {
            return refused("a member needs an id above 0");
        }
        self.must_lead()?;
        let node = BTreeMap::from([(node_id, info.clone())]);
        match self.known(node_id) {
            Some(known) if !known.info.is_same_node(&info) => {
                return refused("another member has this id; ids are never reused");
            }
            Some(known) if known.voter || !add.voter => return Ok(()),
            Some(known) if known.info.voter_wanted => {}
            Some(_) => self.change(Change::SetNodes(node)).await?,
            None => self.change(Change::AddNodes(node)).await?,
        }
        if add.voter { self.until_it_votes(node_id).await } else { Ok(()) }
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
        let Some(step) = step else { return };
        if let Err(error) = self.bounded(CHANGE_ELECTIONS, self.commit(step)).await {
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
        if self.voters().len() == 1 {
            return refused("the last voter cannot be removed");
        }
        if node_id == self.config.node_id {
            // Whoever leads next removes this node: the caller asks it.
            self.transfer().await?;
            return Err(MembershipError::NotLeader);
        }
        // Removing a live voter while others are dead would end the quorum for good.
        let age_max = self.config.election_timeout_max;
        let own = self.config.node_id;
        let keeps = |metrics: &MetricsOf<R>| keeps_quorum_without(metrics, node_id, own, age_max);
        if self.bounded(QUORUM_CHECK_ELECTIONS, self.until(keeps)).await.is_err() {
            return refused("too few of the remaining voters answer; bring them back first");
        }
        self.change(Change::RemoveVoters(ids)).await
    }

    /// Commits a change, waiting for one that is under way to end first.
    async fn change(&self, change: Change) -> Changed<()> {
        let changing = async {
            let _permit =
                self.changing.acquire().await.map_err(|_| MembershipError::Unavailable)?;
            self.commit(change).await
        };
        self.bounded(CHANGE_ELECTIONS, changing).await
    }

    /// The caller holds `changing`. A change takes two entries; where its caller gives up between
    /// them, or the leader dies, [`Self::tend_members`] writes the second.
    async fn commit(&self, change: Change) -> Changed<()> {
        loop {
            // A voter that goes is never kept as learner: it would be promoted again.
            let result = self.raft.change_membership(change.clone(), false).await;
            match result.map_err(refusal::<R>) {
                Ok(_) => return Ok(()),
                Err(Refusal::Later) => self.ports.clock.sleep(self.config.heartbeat).await,
                Err(Refusal::Final(error)) => return Err(error),
            }
        }
    }

    pub(crate) async fn transfer(&self) -> Changed<()> {
        self.must_lead()?;
        let successor = self.successor().await?;
        let node_id = self.config.node_id;
        tracing::info!(to = successor.node_id, "handing leadership over");
        let asked = self.raft.trigger().transfer_leader(successor.node_id).await;
        asked.map_err(|_| MembershipError::Unavailable)?;
        let led = |metrics: &MetricsOf<R>| metrics.current_leader.is_some_and(|id| id != node_id);
        self.bounded(2, self.until(led)).await
    }

    /// The best voter to lead next, among those that answer.
    async fn successor(&self) -> Changed<Target> {
        let (last, candidates) = self.candidates();
        let limit = self.config.election_timeout_min;
        let asked = candidates.into_iter().map(|target| async move {
            let request = v1::StatusRequest { from: self.config.node_id, hash_index: 0 };
            let answer = self.transport.status(&target, request);
            match self.ports.within(limit, answer).await {
                Ok(Ok(status)) => Some((target, status)),
                Ok(Err(_)) | Err(Elapsed) => None,
            }
        });
        let answers = join_all(asked).await.into_iter().flatten();
        let fit = answers
            .filter(|(_, status)| !status.sealed)
            .map(|(target, status)| (status.last_log_id.map_or(0, |id| id.index), target))
            .filter(|(index, _)| index.saturating_add(LAG_ENTRIES_MAX) >= last);
        // Of equals the lowest id, so that a run can be repeated.
        let best = fit.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, target)| target).ok_or_else(|| {
            MembershipError::Refused("no other voter is live, caught up and unsealed".to_owned())
        })
    }

    /// The last index, and the other voters that acknowledged something recently.
    fn candidates(&self) -> (u64, Vec<Target>) {
        let metrics = self.metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        let voters = members.voter_ids().filter(|id| *id != self.config.node_id);
        let live =
            voters.filter(|id| acked_within(&metrics, *id, self.config.election_timeout_max));
        let targets = live.filter_map(|id| target(members, id)).collect();
        (metrics.last_log_index.unwrap_or(0), targets)
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.metrics.borrow_watched().state == ServerState::Leader
    }

    fn must_lead(&self) -> Changed<()> {
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

    async fn bounded<T>(
        &self,
        elections: u32,
        work: impl Future<Output = Changed<T>>,
    ) -> Changed<T> {
        let limit = self.config.election_timeout_max * elections;
        self.ports.within(limit, work).await.unwrap_or(Err(MembershipError::Unavailable))
    }

    /// Completes once the metrics look as wanted.
    async fn until(&self, wanted: impl Fn(&MetricsOf<R>) -> bool + Send) -> Changed<()> {
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

/// What a leader does next about its members.
fn next_step<R: AsyncRuntime>(metrics: &MetricsOf<R>, age_max: Duration) -> Option<Change> {
    if metrics.state != ServerState::Leader || !is_committed(metrics) {
        return None;
    }
    if !is_settled(metrics) {
        return Some(Change::AddVoterIds(BTreeSet::new()));
    }
    let waiting = waiting_learners(metrics.membership_config.membership());
    // A learner that does not answer would only be missing from the quorum.
    let ready = |id: &u64| caught_up(metrics, *id) && acked_within(metrics, *id, age_max);
    let next = waiting.into_iter().find(ready)?;
    Some(Change::AddVoterIds(BTreeSet::from([next])))
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

fn acked_within<R: AsyncRuntime>(metrics: &MetricsOf<R>, node_id: u64, age_max: Duration) -> bool {
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

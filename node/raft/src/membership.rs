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
use crate::types::{MemberInfo, TypeConfig};
use crate::{AddMember, MembershipError, Target};

/// A log that is at most this many entries behind the leader's has caught up.
const LAG_ENTRIES_MAX: u64 = 64;
/// How long an addition waits for the joiner to catch up, in election timeouts. After that the
/// promotion goes on in the background.
const CATCH_UP_ELECTIONS: u32 = 12;
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

    pub(crate) async fn add(&self, add: AddMember) -> Changed<()> {
        let (node_id, info) = decode::member(&add.member);
        if node_id == 0 {
            return refused("a member needs an id above 0");
        }
        self.must_lead()?;
        match self.known(node_id) {
            Some(known) if known.info != info => {
                return refused("another member has this id; ids are never reused");
            }
            Some(known) if known.voter || !add.voter => return Ok(()),
            Some(_) => {}
            None => self.change(Change::AddNodes(BTreeMap::from([(node_id, info)])), true).await?,
        }
        if !add.voter {
            return Ok(());
        }
        let caught_up = |metrics: &MetricsOf<R>| caught_up(metrics, node_id);
        match self.bounded(CATCH_UP_ELECTIONS, self.until(caught_up)).await {
            Ok(()) => self.promote(node_id).await,
            Err(_) => {
                tracing::warn!(node_id, "the new member is still catching up; it will vote later");
                self.promotions().insert(node_id);
                Ok(())
            }
        }
    }

    /// Makes voters of learners that have caught up since they were added.
    pub(crate) async fn promote_late(&self) {
        let waiting: Vec<u64> = self.promotions().iter().copied().collect();
        for node_id in waiting {
            match self.known(node_id) {
                Some(known) if !known.voter => {
                    let ready = caught_up(&self.metrics.borrow_watched(), node_id);
                    if !ready || self.promote(node_id).await.is_err() {
                        continue;
                    }
                }
                // It votes already, or was removed meanwhile.
                Some(_) | None => {}
            }
            self.promotions().remove(&node_id);
        }
    }

    async fn promote(&self, node_id: u64) -> Changed<()> {
        self.change(Change::AddVoterIds(BTreeSet::from([node_id])), true).await
    }

    pub(crate) async fn remove(&self, node_id: u64) -> Changed<()> {
        self.must_lead()?;
        let Some(known) = self.known(node_id) else {
            return refused("no such member");
        };
        let ids = BTreeSet::from([node_id]);
        if !known.voter {
            return self.change(Change::RemoveNodes(ids), true).await;
        }
        if self.voters().len() == 1 {
            return refused("the last voter cannot be removed");
        }
        if node_id == self.config.node_id {
            // Whoever leads next removes this node: the caller asks it.
            self.transfer().await?;
            return Err(MembershipError::NotLeader);
        }
        self.change(Change::RemoveVoters(ids), false).await
    }

    /// Commits a change, waiting for one that is under way to end first.
    async fn change(&self, change: Change, retain: bool) -> Changed<()> {
        let changing = async {
            loop {
                let result = self.raft.change_membership(change.clone(), retain).await;
                match result.map_err(refusal::<R>) {
                    Ok(_) => return Ok(()),
                    Err(Refusal::Later) => self.ports.clock.sleep(self.config.heartbeat).await,
                    Err(Refusal::Final(error)) => return Err(error),
                }
            }
        };
        self.bounded(CHANGE_ELECTIONS, changing).await
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

fn caught_up<R: AsyncRuntime>(metrics: &MetricsOf<R>, node_id: u64) -> bool {
    let replication = metrics.replication.as_ref().and_then(|targets| targets.get(&node_id));
    let Some(Some(matched)) = replication else { return false };
    matched.index.saturating_add(LAG_ENTRIES_MAX) >= metrics.last_log_index.unwrap_or(0)
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

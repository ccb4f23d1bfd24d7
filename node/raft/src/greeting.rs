//! Before a started node takes part: do its peers remember more of it than it has?
//!
//! A disk that was put back in time is whole and well, and knows nothing of what it lost: entries
//! that it acknowledged, votes that it gave. Only its peers can tell. So a started node asks the
//! members it knows what they saw of it, and takes part once a quorum of the voters, itself
//! included, told it nothing that it lacks. Whatever was acknowledged, some peer of any quorum
//! heard of it, at most a few seconds late.
//!
//! **What is compared.** A peer remembers figures that never go back by themselves: the counter of
//! starts, the highest term voted in, and the newest entry that was both on the node's disk and
//! known to be committed. Only uncommitted entries are ever truncated, so an honest log still
//! holds that entry, or begins behind it. What a starting node shows of its own is the end of its
//! log: before a leader spoke nobody knows how much of that is committed.
//!
//! **Who is asked.** The members of the newest membership in the log, committed or not, else of
//! the state or the newest snapshot, else those that let the node in. It is the one that Raft will count votes by; and should its
//! entry be truncated, the one before it differs by a single change, so that their quorums meet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use conclave_ports::{Elapsed, Ports};
use conclave_proto::v1;
use conclave_proto::v1::entry::Payload;
use conclave_store::identity::Out;
use conclave_store::log::Log;
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::State;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;

use crate::lack::{OnDisk, rolled_back};
use crate::snapshot::served_parts;
use crate::{PeerError, PeerTransport, RaftConfig, RaftParts, SnapshotParts, Target};

/// How much of the log is read at once, looking for memberships.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Between two lines in the log that say for whom this node waits.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Snapshots that are sent at the same time to nodes that fetch one.
const SNAPSHOTS_SERVED_MAX: usize = 2;

/// Why a node must not take part.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct StaysOut {
    /// For the durable mark.
    pub why: Out,
    /// For people: what happened, what to do.
    pub text: String,
}

/// Answers greetings, from what a node has on disk. Clones answer the same. It lives before, during
/// and after consensus.
#[derive(Clone)]
pub struct Greeter {
    shared: Arc<Shared>,
}

struct Shared {
    node_id: u64,
    boot_counter: u64,
    joined: v1::Membership,
    heartbeat: Duration,
    election_timeout_max: Duration,
    log: Log,
    state: State,
    snapshots: SnapshotStore,
    seen: SeenStore,
    transport: Arc<dyn PeerTransport>,
    ports: Ports,
    serving: Arc<Semaphore>,
}

impl Greeter {
    /// For the node that these parts make.
    #[must_use]
    pub fn new(config: &RaftConfig, parts: &RaftParts) -> Self {
        let shared = Shared {
            node_id: config.node_id,
            boot_counter: parts.boot_counter,
            joined: parts.joined.clone(),
            heartbeat: config.heartbeat,
            election_timeout_max: config.election_timeout_max,
            log: parts.log.clone(),
            state: parts.state.clone(),
            snapshots: parts.snapshots.clone(),
            seen: parts.seen.clone(),
            transport: parts.transport.clone(),
            ports: parts.ports.clone(),
            serving: Arc::new(Semaphore::new(SNAPSHOTS_SERVED_MAX)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What this node remembers of the caller. The connection must prove that the caller is
    /// `own.node_id`, be it a member or not.
    #[must_use]
    pub fn on_greet(&self, request: &v1::GreetRequest) -> v1::GreetReply {
        let applied = self.shared.state.applied();
        let epoch = applied.epoch.max(1);
        let Some(own) = request.own.filter(|own| own.node_id > 0) else {
            return v1::GreetReply { seen: None, epoch, removed: false };
        };
        let seen = self.shared.seen.of(own.node_id);
        let members = applied.membership.and_then(|stored| stored.membership).unwrap_or_default();
        let is_member = members.members.iter().any(|member| member.node_id == own.node_id);
        if is_member {
            // Its log may end in entries that were never committed: they are no promise.
            self.shared.seen.saw(&v1::Seen { durable: None, ..own });
        }
        let applied_index = applied.log_id.map(|id| id.index);
        let removed = !is_member
            && !members.members.is_empty()
            && is_ahead(epoch, applied_index, request.epoch, own.durable.map(|id| id.index));
        v1::GreetReply { seen, epoch, removed }
    }

    /// This node's newest snapshot, for a member whose own ones are damaged.
    ///
    /// # Errors
    /// [`PeerError::Refused`] where it has none that reaches what is asked for, which a snapshot
    /// taken now may do; or where too many are being sent.
    pub fn on_fetch_snapshot(
        &self,
        request: &v1::FetchSnapshotRequest,
    ) -> Result<SnapshotParts, PeerError> {
        let node_id = self.shared.node_id;
        let refused = |reason: String| PeerError::Refused { node_id, reason };
        let permit = self.shared.serving.clone().try_acquire_owned();
        let permit = permit.map_err(|_| refused("others are being sent snapshots".to_owned()))?;
        let newest = self.shared.snapshots.latest().map_err(|error| refused(error.to_string()))?;
        let reader = newest.ok_or_else(|| refused("it has no snapshot".to_owned()))?;
        let last = reader.header().last_log_id.map_or(0, |id| id.index);
        if last < request.reach_index {
            return Err(refused(format!("its snapshot ends at entry {last}")));
        }
        Ok(served_parts(node_id, reader, self.shared.snapshots.clone(), permit))
    }

    /// Whether this node has applied the entry that a member wants a snapshot to reach, and has
    /// none that does: it is to build one, for on an idle cluster nothing else would.
    #[must_use]
    pub fn owes_snapshot(&self, request: &v1::FetchSnapshotRequest) -> bool {
        let newest = self.shared.snapshots.latest().ok().flatten();
        let stored = newest.and_then(|reader| reader.header().last_log_id);
        let reaches = |id: Option<v1::LogId>| id.is_some_and(|id| id.index >= request.reach_index);
        !reaches(stored) && reaches(self.shared.state.applied_id())
    }

    /// Greets the members that this node knows, until a quorum of the voters, itself included where
    /// it votes, has answered that it may take part. Who knows members and no voter, as one that was
    /// let in a moment ago, waits for one answer; a single voter and a node that knows nobody for
    /// none. May be dropped at any moment.
    ///
    /// # Errors
    /// It must not: a peer saw more of it, or knows a later epoch without it.
    pub async fn greet(&self) -> Result<(), StaysOut> {
        let shared = &self.shared;
        let known = shared.known();
        let mut asked: FuturesUnordered<_> =
            known.peers(shared.node_id).into_iter().map(|target| shared.ask(target)).collect();
        let mut answered = BTreeSet::from([shared.node_id]);
        let mut report_at = shared.ports.clock.monotonic() + REPORT_INTERVAL;
        while !asked.is_empty() {
            let enough = known.is_quorum(&answered, shared.node_id);
            // Those that are up answer at once: one of them may have seen what the others did not.
            let wait = if enough { shared.heartbeat } else { REPORT_INTERVAL };
            match shared.ports.within(wait, asked.next()).await {
                Ok(Some((node_id, reply))) => {
                    shared.judge(node_id, &reply, known.has(shared.node_id))?;
                    answered.insert(node_id);
                }
                Ok(None) => break,
                Err(Elapsed) if enough => break,
                Err(Elapsed) => {}
            }
            let now = shared.ports.clock.monotonic();
            if !enough && now >= report_at {
                report_at = now + REPORT_INTERVAL;
                known.report(&answered);
            }
        }
        Ok(())
    }
}

impl Greeter {
    /// The other members, as this node's own disk has them.
    pub(crate) fn peers(&self) -> Vec<Target> {
        self.shared.known().peers(self.shared.node_id)
    }
}

/// Whether a node at this epoch and applied index knows all that the caller can have been told
/// about its own membership. A peer that lags behind the caller may not have heard of it yet.
pub(crate) fn is_ahead(
    epoch: u64,
    applied: Option<u64>,
    their_epoch: u64,
    their_last: Option<u64>,
) -> bool {
    // A caller with nothing on disk has just been added.
    let Some(last) = their_last else { return false };
    epoch > their_epoch || (epoch == their_epoch && applied.is_some_and(|index| index >= last))
}

impl Shared {
    /// Asks until there is an answer.
    async fn ask(&self, target: Target) -> (u64, v1::GreetReply) {
        let mut pause = self.heartbeat;
        loop {
            let answer = self.transport.greet(&target, self.request());
            if let Ok(Ok(reply)) = self.ports.within(self.election_timeout_max, answer).await {
                return (target.node_id, reply);
            }
            self.ports.clock.sleep(pause).await;
            pause = (pause * 2).min(self.election_timeout_max);
        }
    }

    fn request(&self) -> v1::GreetRequest {
        let applied = self.state.applied();
        let ends = [applied.log_id, self.log.state().last];
        let own = v1::Seen {
            node_id: self.node_id,
            boot_counter: self.boot_counter,
            vote_term: self.on_disk().vote_term(),
            durable: ends.into_iter().flatten().max_by_key(|id| (id.index, id.term)),
        };
        v1::GreetRequest { own: Some(own), epoch: applied.epoch.max(1) }
    }

    fn on_disk(&self) -> OnDisk<'_> {
        OnDisk {
            boot_counter: self.boot_counter,
            log: &self.log,
            state: &self.state,
            snapshots: &self.snapshots,
        }
    }

    /// `is_member`: by what is on this node's own disk. One that has not read yet of its own
    /// addition cannot have been removed.
    fn judge(&self, node_id: u64, reply: &v1::GreetReply, is_member: bool) -> Result<(), StaysOut> {
        if reply.removed && is_member {
            return Err(fenced(node_id, reply.epoch));
        }
        match reply.seen.as_ref().and_then(|seen| self.on_disk().lack(seen)) {
            None => Ok(()),
            Some(lack) => Err(StaysOut { why: Out::RolledBack, text: rolled_back(node_id, &lack) }),
        }
    }

    /// The members as this node's own disk has them.
    fn known(&self) -> Known {
        let applied = self.state.applied();
        let mut newest = applied.membership.and_then(|stored| stored.membership);
        let mut from = applied.log_id.map_or(0, |id| id.index + 1);
        let first = self.log.state().purged.map_or(0, |id| id.index + 1);
        if from < first {
            // A damaged one still says whom to ask.
            let header =
                self.on_disk().newest_snapshot().or_else(|| self.snapshots.damaged_headers().pop());
            let header = header.unwrap_or_default();
            newest = header.membership.and_then(|stored| stored.membership).or(newest);
            from = header.last_log_id.map_or(from, |id| id.index + 1);
        }
        let newest = self.newest_in_log(from.max(first)).or(newest);
        Known::of(newest.unwrap_or_else(|| self.joined.clone()))
    }

    fn newest_in_log(&self, mut from: u64) -> Option<v1::Membership> {
        let end = self.log.state().last.map_or(0, |id| id.index + 1);
        let mut newest = None;
        while from < end {
            let entries = match self.log.read(from..end, READ_BYTES) {
                Ok(entries) if !entries.is_empty() => entries,
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, from, "the log cannot be read");
                    break;
                }
            };
            from += entries.len() as u64;
            for entry in entries {
                if let Some(Payload::Membership(membership)) = entry.payload {
                    newest = Some(membership);
                }
            }
        }
        newest
    }
}

pub(crate) fn fenced(node_id: u64, epoch: u64) -> StaysOut {
    StaysOut {
        why: Out::Fenced,
        text: format!(
            "node {node_id} says that this node is no member any more (epoch {epoch}): it was \
             removed, or the cluster was recovered without it. Run `conclaved rejoin --config \
             FILE` to set its data aside and to join anew"
        ),
    }
}

/// A membership as read from the disk.
#[derive(Default)]
struct Known {
    members: BTreeMap<u64, v1::Member>,
    /// Two while a change is under way: each needs its own quorum.
    configs: Vec<BTreeSet<u64>>,
}

impl Known {
    fn of(membership: v1::Membership) -> Self {
        let configs = membership.configs.into_iter();
        Self {
            members: membership.members.into_iter().map(|one| (one.node_id, one)).collect(),
            configs: configs.map(|voters| voters.node_ids.into_iter().collect()).collect(),
        }
    }

    /// Says whom this node waits for. One whose disk names no voter, as where state and snapshots
    /// are lost, may wait for members that are long gone.
    fn report(&self, answered: &BTreeSet<u64>) {
        if self.configs.is_empty() && answered.len() == 1 {
            let members: Vec<u64> = self.members.keys().copied().collect();
            tracing::warn!(
                ?members,
                "this node has no state that names the voters, and none of the members that let it in answers; if the cluster runs, set this node's data aside and join it again with `conclaved rejoin --config FILE`"
            );
        } else {
            tracing::warn!(?answered, voters = ?self.configs, "waiting for a quorum to greet");
        }
    }

    fn has(&self, node_id: u64) -> bool {
        self.members.contains_key(&node_id)
    }

    fn peers(&self, node_id: u64) -> Vec<Target> {
        let others = self.members.iter().filter(|(id, _)| **id != node_id);
        others.map(|(id, member)| Target { node_id: *id, member: member.clone() }).collect()
    }

    /// A node that does not vote by what its own disk says may have voted by what its peers know, so
    /// it needs as many answers as one that does. Only where its disk names no voter, somebody who
    /// knows it has to do.
    fn is_quorum(&self, answered: &BTreeSet<u64>, node_id: u64) -> bool {
        if self.configs.is_empty() {
            return answered.len() > 1 || self.peers(node_id).is_empty();
        }
        self.configs.iter().all(|voters| voters.intersection(answered).count() * 2 > voters.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(configs: &[&[u64]], learners: &[u64]) -> Known {
        let all = configs.iter().flat_map(|voters| voters.iter()).chain(learners);
        let member = |id: &u64| (*id, v1::Member { node_id: *id, ..v1::Member::default() });
        Known {
            members: all.map(member).collect(),
            configs: configs.iter().map(|voters| voters.iter().copied().collect()).collect(),
        }
    }

    fn quorum(known: &Known, node_id: u64, answered: &[u64]) -> bool {
        known.is_quorum(&answered.iter().copied().chain([node_id]).collect(), node_id)
    }

    #[test]
    fn a_voter_waits_for_a_quorum_of_each_configuration() {
        let plain = known(&[&[1, 2, 3]], &[4]);
        assert!(!quorum(&plain, 1, &[]));
        assert!(!quorum(&plain, 1, &[4]), "a learner makes no quorum");
        assert!(quorum(&plain, 1, &[3]));
        let joint = known(&[&[1, 2, 3], &[1, 4, 5]], &[]);
        assert!(!quorum(&joint, 1, &[2, 3]));
        assert!(quorum(&joint, 1, &[2, 4]));
        assert!(!quorum(&joint, 4, &[5]), "it votes in one of them");
    }

    #[test]
    fn who_does_not_vote_waits_for_a_quorum_of_those_who_do() {
        let learner = known(&[&[1, 2, 3]], &[4, 5]);
        assert!(!quorum(&learner, 4, &[2]));
        assert!(!quorum(&learner, 4, &[2, 5]), "another learner makes no quorum");
        assert!(quorum(&learner, 4, &[2, 3]));
        assert!(!quorum(&known(&[&[1, 2, 3]], &[]), 9, &[1]), "its disk does not know it");
        assert!(quorum(&known(&[&[1]], &[]), 1, &[]));
    }

    #[test]
    fn who_knows_no_voter_waits_for_somebody() {
        assert!(!quorum(&known(&[], &[1, 2, 4]), 4, &[]));
        assert!(quorum(&known(&[], &[1, 2, 4]), 4, &[2]));
        assert!(quorum(&known(&[], &[]), 1, &[]));
    }

    #[test]
    fn only_who_is_ahead_can_say_that_a_node_was_removed() {
        assert!(is_ahead(1, Some(20), 1, Some(20)));
        assert!(!is_ahead(1, Some(19), 1, Some(20)), "it lags behind the caller");
        assert!(!is_ahead(1, Some(20), 1, None), "the caller is new");
        assert!(!is_ahead(1, None, 1, Some(3)));
        assert!(!is_ahead(1, Some(99), 2, Some(3)), "it is of an older epoch itself");
        assert!(is_ahead(2, Some(5), 1, Some(20)), "the survivor had less, and goes on without");
    }
}

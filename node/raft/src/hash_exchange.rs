//! Members ask one another how they are doing: replicas compare the hash of their state, and the
//! odd one out stops; so does one that the cluster goes on without.
//!
//! Apply is deterministic, so at equal index all hashes are equal, unless a disk, a memory or a
//! bug changed one. The index compared is this node's newest checkpoint. What the peers have on
//! disk is noted on the way, see [`crate::witness`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use conclave_proto::v1;
use conclave_store::state::StateHash;
use futures::future::join_all;
use openraft::AsyncRuntime;

use crate::greeting::fenced;
use crate::node::Node;
use crate::{PeerError, Target};

/// Between two rounds.
const EXCHANGE_INTERVAL: Duration = Duration::from_secs(2);

/// Asks until the node stops, or until it finds that it must not take part.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let mut compared = 0;
    while !node.flags.stopping() {
        node.pause(EXCHANGE_INTERVAL).await;
        if node.flags.stopping() {
            return;
        }
        let checkpoint = node.state.checkpoint().filter(|(index, _)| *index != compared);
        let answers = ask(&node, checkpoint.map_or(0, |(index, _)| index)).await;
        if let Some(Answer::Fences { node_id, epoch }) =
            answers.iter().find(|answer| matches!(answer, Answer::Fences { .. }))
        {
            fence(&node, *node_id, *epoch).await;
            return;
        }
        let Some((index, own)) = checkpoint else { continue };
        match judge(node.config.node_id, own, &hashes(&answers), &node.voters()) {
            Verdict::Alone => {
                quarantine(&node, index).await;
                return;
            }
            Verdict::Odd(odd) => {
                compared = index;
                for node_id in odd {
                    tracing::error!(
                        node_id,
                        index,
                        "a member's state differs from the majority's; it stops by itself, then \
                         remove it and let it join again with an empty data directory"
                    );
                }
            }
            Verdict::Equal => compared = index,
            // Some peers had not reached that index, or did not answer: ask again.
            Verdict::Unknown => {}
        }
    }
}

/// What a peer answered.
enum Answer {
    /// Its hash at the index asked for, where it knows it.
    Status { node_id: u64, hash: Option<StateHash> },
    /// It has a later epoch and no place for this node.
    Fences { node_id: u64, epoch: u64 },
}

fn hashes(answers: &[Answer]) -> Vec<(u64, StateHash)> {
    let known = answers.iter().filter_map(|answer| match answer {
        Answer::Status { node_id, hash } => Some((*node_id, (*hash)?)),
        Answer::Fences { .. } => None,
    });
    known.collect()
}

/// Asks every peer; `index` is where its hash is wanted, 0 for none.
async fn ask<R: AsyncRuntime>(node: &Node<R>, index: u64) -> Vec<Answer> {
    let asked = node.peers().into_iter().map(|target| async move {
        let node_id = target.node_id;
        let request = v1::StatusRequest {
            from: node.config.node_id,
            hash_index: index,
            // It may be one that greeted nobody, because it no longer knows anybody.
            seen: node.seen.of(node_id),
        };
        let answer = node.transport.status(&target, request);
        match node.ports.within(node.config.election_timeout_max, answer).await.ok()? {
            Ok(status) if status.not_a_member => says_fenced(node, node_id, status.epoch),
            Ok(status) => {
                node.note_peer(node_id, &status);
                Some(Answer::Status { node_id, hash: hash(&status.state_hash) })
            }
            // It may have dropped this node from its members: a greeting it answers to anybody.
            Err(PeerError::Refused { .. }) => greet(node, &target).await,
            Err(PeerError::Unreachable { .. }) => None,
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn greet<R: AsyncRuntime>(node: &Node<R>, target: &Target) -> Option<Answer> {
    let request = v1::GreetRequest { own: Some(node.own()), epoch: node.epoch.get() };
    let answer = node.transport.greet(target, request);
    let reply = node.ports.within(node.config.election_timeout_max, answer).await.ok()?.ok()?;
    if reply.removed { says_fenced(node, target.node_id, reply.epoch) } else { None }
}

/// A peer of this epoch that lacks this node lags behind, or this node does: the log will tell.
fn says_fenced<R: AsyncRuntime>(node: &Node<R>, node_id: u64, epoch: u64) -> Option<Answer> {
    // One that has not applied its own addition yet may only be new.
    let members = node.state.applied().membership.and_then(|stored| stored.membership);
    let is_member = members.is_some_and(|members| {
        members.members.iter().any(|one| one.node_id == node.config.node_id)
    });
    (is_member && epoch > node.epoch.get()).then_some(Answer::Fences { node_id, epoch })
}

fn hash(bytes: &[u8]) -> Option<StateHash> {
    bytes.try_into().ok().map(StateHash)
}

/// What the answers mean for this node.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Too few answered.
    Unknown,
    /// All that answered agree.
    Equal,
    /// A quorum of voters agrees with this node, these members do not.
    Odd(BTreeSet<u64>),
    /// A quorum of voters agrees on another hash.
    Alone,
}

/// A hash is right once a quorum of the voters has it; fewer could be wrong together.
fn judge(
    node_id: u64,
    own: StateHash,
    answers: &[(u64, StateHash)],
    voters: &BTreeSet<u64>,
) -> Verdict {
    let quorum = voters.len() / 2 + 1;
    let holding = |hash: StateHash| {
        let own_vote = (hash == own && voters.contains(&node_id)).then_some(node_id);
        let others = answers.iter().filter(|(id, theirs)| *theirs == hash && voters.contains(id));
        others.map(|(id, _)| *id).chain(own_vote).collect::<BTreeSet<u64>>().len()
    };
    let differing = || answers.iter().filter(|(_, theirs)| *theirs != own);
    if differing().any(|(_, theirs)| holding(*theirs) >= quorum) {
        return Verdict::Alone;
    }
    if holding(own) < quorum {
        return Verdict::Unknown;
    }
    let odd: BTreeSet<u64> = differing().map(|(id, _)| *id).collect();
    if odd.is_empty() { Verdict::Equal } else { Verdict::Odd(odd) }
}

async fn fence<R: AsyncRuntime>(node: &Node<R>, node_id: u64, epoch: u64) {
    tracing::error!("{}", fenced(node_id, epoch));
    node.flags.fence();
    node.changes.bump();
    node.stop().await;
}

async fn quarantine<R: AsyncRuntime>(node: &Node<R>, index: u64) {
    tracing::error!(
        index,
        "this node's state differs from the majority's: it takes no part any more. Remove it from \
         the cluster, set its data directory aside and let it join again"
    );
    node.flags.quarantine();
    node.changes.bump();
    node.stop().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(byte: u8) -> StateHash {
        StateHash([byte; 64])
    }

    fn judged(own: u8, answers: &[(u64, u8)], voters: &[u64]) -> Verdict {
        let answers: Vec<_> = answers.iter().map(|(id, byte)| (*id, hash_of(*byte))).collect();
        judge(1, hash_of(own), &answers, &voters.iter().copied().collect())
    }

    #[test]
    fn one_against_two_is_alone() {
        assert_eq!(judged(7, &[(2, 8), (3, 8)], &[1, 2, 3]), Verdict::Alone);
    }

    #[test]
    fn the_majority_names_the_odd_one() {
        assert_eq!(judged(7, &[(2, 7), (3, 8)], &[1, 2, 3]), Verdict::Odd(BTreeSet::from([3])));
    }

    #[test]
    fn one_against_one_decides_nothing() {
        assert_eq!(judged(7, &[(2, 8)], &[1, 2, 3]), Verdict::Unknown);
        assert_eq!(judged(7, &[(2, 8)], &[1, 2]), Verdict::Unknown);
    }

    #[test]
    fn two_of_five_voters_do_not_condemn_a_third() {
        assert_eq!(judged(7, &[(2, 8), (3, 8)], &[1, 2, 3, 4, 5]), Verdict::Unknown);
    }

    #[test]
    fn learners_do_not_count_as_judges() {
        assert_eq!(
            judged(7, &[(2, 7), (8, 9), (9, 9)], &[1, 2]),
            Verdict::Odd(BTreeSet::from([8, 9]))
        );
    }

    #[test]
    fn a_learner_is_judged_by_the_voters() {
        assert_eq!(judged(7, &[(2, 8), (3, 8)], &[2, 3]), Verdict::Alone);
    }

    #[test]
    fn agreement_is_equal() {
        assert_eq!(judged(7, &[(2, 7), (3, 7)], &[1, 2, 3]), Verdict::Equal);
        assert_eq!(judged(7, &[], &[1]), Verdict::Equal);
    }
}

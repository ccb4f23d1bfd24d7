//! Replicas compare the hash of their state, and the odd one out stops.
//!
//! Apply is deterministic, so at equal index all hashes are equal, unless a disk, a memory or a
//! bug changed one. The index compared is this node's newest checkpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Elapsed;
use conclave_proto::v1;
use conclave_store::state::StateHash;
use futures::future::join_all;
use openraft::AsyncRuntime;

use crate::node::Node;

/// Between two comparisons.
const EXCHANGE_INTERVAL: Duration = Duration::from_secs(2);

/// Compares until the node stops, or until it finds that it is the odd one out.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let mut compared = 0;
    while !node.flags.stopping() {
        node.pause(EXCHANGE_INTERVAL).await;
        let Some((index, own)) = node.state.checkpoint() else { continue };
        if index == compared || node.flags.stopping() {
            continue;
        }
        let answers = ask(&node, index).await;
        match judge(node.config.node_id, own, &answers, &node.voters()) {
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

/// Every peer's hash at `index`, of those that know it.
async fn ask<R: AsyncRuntime>(node: &Node<R>, index: u64) -> Vec<(u64, StateHash)> {
    let asked = node.peers().into_iter().map(|target| async move {
        let request = v1::StatusRequest { from: node.config.node_id, hash_index: index };
        let answer = node.transport.status(&target, request);
        match node.ports.within(node.config.election_timeout_max, answer).await {
            Ok(Ok(status)) => Some((target.node_id, hash(&status.state_hash)?)),
            Ok(Err(_)) | Err(Elapsed) => None,
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
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

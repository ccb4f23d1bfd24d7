//! Nodes that are to vote end as voters, whoever leads meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::entry::Payload;
use conclave_raft::{AddMember, MembershipError, Readiness};
use futures::future::join_all;

use crate::support::{Cluster, member, simulate};
use crate::wanted;

fn voter(id: u64) -> AddMember {
    AddMember { member: member(id), voter: true }
}

/// Completes once the leader's settled membership has exactly these voters and no learner.
async fn until_voters_are(cluster: &Cluster, ids: &[u64]) {
    cluster
        .eventually("the voters", |cluster| {
            let leads = |id: &&u64| cluster.raft(**id).status().is_leader;
            let leader = cluster.nodes.keys().find(leads)?;
            let stored = cluster.nodes[leader].state.applied().membership?.membership?;
            let members: Vec<u64> = stored.members.iter().map(|member| member.node_id).collect();
            let [voters] = stored.configs.as_slice() else { return None };
            (members == ids && voters.node_ids == ids).then_some(())
        })
        .await;
}

#[test]
fn three_joiners_at_once_vote_although_their_leader_dies() {
    for seed in 300..305 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let leader = cluster.leader().await;
            let first = cluster.raft(leader);
            // They do not run yet, so they cannot catch up.
            let added = join_all((4..=6).map(|id| first.add_member(voter(id)))).await;
            assert!(added.into_iter().all(|result| result.is_ok()));
            let members = first.status().members;
            assert!(members[3..].iter().all(|view| !view.voter), "they are learners until then");
            assert_eq!(members[5].member, wanted(6));

            cluster.stop(leader).await;
            for id in 4..=6 {
                cluster.start(id).await.set_readiness(Readiness::Ready);
            }
            cluster.leader().await;
            until_voters_are(&cluster, &[1, 2, 3, 4, 5, 6]).await;
            cluster.start(leader).await.set_readiness(Readiness::Ready);
            cluster.write("a", "1").await;
        });
    }
}

#[test]
fn joiners_become_voters_one_at_a_time() {
    simulate(310, async |mut cluster| {
        cluster.form(1).await;
        for id in 2..=5 {
            cluster.start(id).await.set_readiness(Readiness::Ready);
        }
        let first = cluster.raft(1);
        let added = join_all((2..=5).map(|id| first.add_member(voter(id)))).await;
        assert!(added.into_iter().all(|result| result.is_ok()));
        until_voters_are(&cluster, &[1, 2, 3, 4, 5]).await;
        let last = first.status().last_log_index;
        let entries = cluster.nodes[&1].log.read(0..last + 1, usize::MAX).expect("the log reads");
        let sizes: Vec<usize> = entries.iter().filter_map(voters_of).collect();
        assert!(sizes.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{sizes:?}");
        assert_eq!(sizes.last(), Some(&5));
    });
}

fn voters_of(entry: &v1::Entry) -> Option<usize> {
    match &entry.payload {
        Some(Payload::Membership(members)) => members.configs.last().map(|set| set.node_ids.len()),
        _ => None,
    }
}

#[test]
fn a_learner_may_be_asked_to_vote_later() {
    simulate(311, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.raft(cluster.leader().await);
        let learner = AddMember { member: member(4), voter: false };
        leader.add_member(learner).await.expect("a learner is added");
        leader.add_member(voter(4)).await.expect("the wish is noted");
        assert_eq!(leader.status().members[3].member, wanted(4));
        assert!(!leader.status().members[3].voter);
        cluster.start(4).await.set_readiness(Readiness::Ready);
        until_voters_are(&cluster, &[1, 2, 3, 4]).await;
    });
}

#[test]
fn a_learner_that_is_not_to_vote_stays_one() {
    simulate(312, async |mut cluster| {
        cluster.form(3).await;
        cluster.start(4).await.set_readiness(Readiness::Ready);
        let learner = AddMember { member: member(4), voter: false };
        let leader = cluster.raft(cluster.leader().await);
        leader.add_member(learner).await.expect("a learner is added");
        cluster.sleep(Duration::from_secs(20)).await;
        assert!(!leader.status().members[3].voter);
    });
}

/// A change of voters takes two entries. The next leader writes the second.
#[test]
fn a_change_whose_leader_dies_half_way_is_ended_by_the_next() {
    for delay in 0..16_u64 {
        simulate(320 + delay, async move |mut cluster| {
            cluster.form(3).await;
            cluster.start(4).await.set_readiness(Readiness::Ready);
            let leader = cluster.leader().await;
            let first = cluster.raft(leader);
            first.add_member(AddMember { member: member(4), voter: false }).await.expect("added");
            let clock = cluster.ports.clock.clone();
            let dying = async {
                clock.sleep(Duration::from_millis(delay * 8)).await;
                cluster.stop(leader).await;
            };
            let (_, ()) = futures::join!(first.add_member(voter(4)), dying);
            cluster.start(leader).await.set_readiness(Readiness::Ready);
            let next = cluster.raft(cluster.leader().await);
            // The wish itself may have died with the leader.
            let _ = next.add_member(voter(4)).await;
            until_voters_are(&cluster, &[1, 2, 3, 4]).await;
        });
    }
}

#[test]
fn a_voter_whose_removal_was_cut_short_is_no_learner_that_comes_back() {
    for delay in 0..12_u64 {
        simulate(340 + delay, async move |mut cluster| {
            cluster.form(5).await;
            let leader = cluster.leader().await;
            let gone = 1 + leader % 5;
            let first = cluster.raft(leader);
            let clock = cluster.ports.clock.clone();
            let dying = async {
                clock.sleep(Duration::from_millis(delay)).await;
                cluster.stop(leader).await;
            };
            let (_, ()) = futures::join!(first.remove_member(gone), dying);
            cluster.start(leader).await.set_readiness(Readiness::Ready);
            let next = cluster.leader().await;
            if next != gone {
                // Refused where it is gone already.
                let _ = cluster.raft(next).remove_member(gone).await;
                let rest: Vec<u64> = (1..=5).filter(|id| *id != gone).collect();
                cluster.sleep(Duration::from_secs(5)).await;
                until_voters_are(&cluster, &rest).await;
            }
        });
    }
}

/// A joiner is answered once it was admitted. From then on it waits for the cluster, so that it
/// must not depend on the one node that knows it.
#[test]
fn whoever_was_admitted_votes_in_the_end_although_the_leader_dies_at_once() {
    let outcomes = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
    for delay in 0..16_u64 {
        let outcomes = outcomes.clone();
        simulate(380 + delay, async move |mut cluster| {
            cluster.form(3).await;
            let leader = cluster.leader().await;
            let first = cluster.raft(leader);
            let clock = cluster.ports.clock.clone();
            let dying = async {
                clock.sleep(Duration::from_micros(delay * 500)).await;
                cluster.stop(leader).await;
            };
            let (admitted, ()) = futures::join!(first.admit_member(voter(4)), dying);
            outcomes[usize::from(admitted.is_ok())].fetch_add(1, Ordering::Relaxed);
            cluster.start(4).await.set_readiness(Readiness::Ready);
            cluster.leader().await;
            if admitted.is_err() {
                // It asks the next leader under another id, and the old one is removed.
                let next = cluster.raft(cluster.leader().await);
                let _ = next.remove_member(4).await;
                next.admit_member(voter(5)).await.expect("it is admitted");
                cluster.start(5).await.set_readiness(Readiness::Ready);
            }
            cluster.start(leader).await.set_readiness(Readiness::Ready);
            let last = if admitted.is_ok() { 4 } else { 5 };
            until_voters_are(&cluster, &[1, 2, 3, last]).await;
        });
    }
    assert!(outcomes.iter().all(|count| count.load(Ordering::Relaxed) > 0), "{outcomes:?}");
}

#[test]
fn nobody_is_admitted_before_a_quorum_has_it() {
    simulate(400, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let first = cluster.raft(leader);
        for id in (1..=3).filter(|id| *id != leader) {
            cluster.stop(id).await;
        }
        // The second time the member stands in the leader's own log already.
        for _ in 0..2 {
            let refused = first.admit_member(voter(4)).await.expect_err("nobody else has it");
            let expected = [MembershipError::Unavailable, MembershipError::NotLeader];
            let expected = expected.map(|error| error.to_string());
            assert!(expected.contains(&refused.to_string()), "{refused}");
        }
    });
}

/// Its answer was lost, it asked again, and the first leader comes back with the first addition.
#[test]
fn one_node_is_not_admitted_under_two_ids() {
    simulate(401, async |mut cluster| {
        cluster.form(3).await;
        let first = cluster.raft(cluster.leader().await);
        first.admit_member(voter(4)).await.expect("it is admitted");
        for (name, pin) in [("node-4", member(5).spki_pin), ("node-5", member(4).spki_pin)] {
            let again = v1::Member { name: name.to_owned(), spki_pin: pin, ..member(5) };
            let add = AddMember { member: again, voter: true };
            let refused = first.admit_member(add).await.expect_err("it is a member already");
            assert!(refused.to_string().contains("remove it first"), "{refused}");
        }
        first.remove_member(4).await.expect("it goes");
        let again = v1::Member { node_id: 5, ..member(4) };
        first.admit_member(AddMember { member: again, voter: true }).await.expect("once removed");
    });
}

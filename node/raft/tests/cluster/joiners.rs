//! Nodes that are to vote end as voters, whoever leads meanwhile.

use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::entry::Payload;
use conclave_raft::{AddMember, Readiness};
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

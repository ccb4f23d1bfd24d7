//! Voters become learners and the other way round; what is cut short is ended; who has no place in
//! a later epoch stops.

use std::sync::Arc;
use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::entry::Payload;
use conclave_raft::{AddMember, MembershipError, ProposeError, Readiness};
use conclave_store::identity::Out;
use futures::FutureExt;
use futures::future::join_all;

use crate::support::{Cluster, HEARTBEAT, Tamper, member, put, simulate};
use crate::wanted;

/// The newest membership that a node applied, once it is no longer in the middle of a change.
fn settled(cluster: &Cluster, id: u64) -> Option<(Vec<u64>, Vec<u64>)> {
    let stored = cluster.nodes[&id].state.applied().membership?.membership?;
    let [voters] = stored.configs.as_slice() else { return None };
    let all = stored.members.iter().map(|member| member.node_id);
    let learners = all.filter(|id| !voters.node_ids.contains(id)).collect();
    Some((voters.node_ids.clone(), learners))
}

async fn until_settled(cluster: &Cluster, voters: &[u64], learners: &[u64]) {
    cluster
        .eventually("the membership", |cluster| {
            let leading = |id: &&u64| cluster.raft(**id).status().is_leader;
            let leader = cluster.nodes.keys().find(leading)?;
            let (now, rest) = settled(cluster, *leader)?;
            (now == voters && rest == learners).then_some(())
        })
        .await;
}

#[test]
fn a_voter_becomes_a_learner_that_stays_one_and_a_voter_again() {
    simulate(800, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let (id, other) = (1 + leader % 3, 1 + (leader + 1) % 3);
        let raft = cluster.raft(leader);
        raft.demote_member(id).await.expect("it is demoted");
        let mut voters = vec![leader, other];
        voters.sort_unstable();
        until_settled(&cluster, &voters, &[id]).await;
        raft.demote_member(id).await.expect("it is one already");
        cluster.sleep(Duration::from_secs(20)).await;
        until_settled(&cluster, &voters, &[id]).await;
        cluster.write("a", "1").await;
        assert_eq!(cluster.read(id, "a").await.as_deref(), Some("1"), "learners read");

        raft.promote_member(id).await.expect("it is promoted");
        until_settled(&cluster, &[1, 2, 3], &[]).await;
        raft.promote_member(id).await.expect("it votes already");
        let unknown = raft.promote_member(9).await;
        assert!(matches!(unknown, Err(MembershipError::Refused(_))));
        let unknown = raft.demote_member(9).await;
        assert!(matches!(unknown, Err(MembershipError::Refused(_))));
    });
}

#[test]
fn a_leader_that_is_demoted_hands_over_first() {
    simulate(801, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let answer = cluster.raft(leader).demote_member(leader).await;
        assert!(matches!(answer, Err(MembershipError::NotLeader)), "{answer:?}");
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        cluster.raft(next).demote_member(leader).await.expect("the next one does it");
        let rest: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        until_settled(&cluster, &rest, &[leader]).await;
        let follower = rest.into_iter().find(|id| *id != next).expect("two voters");
        let answer = cluster.raft(follower).promote_member(leader).await;
        assert!(matches!(answer, Err(MembershipError::NotLeader)));
    });
}

#[test]
fn no_vote_is_taken_where_the_rest_has_no_live_quorum() {
    simulate(802, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let (dead, live) = (1 + leader % 3, 1 + (leader + 1) % 3);
        cluster.stop(dead).await;
        cluster.sleep(Duration::from_secs(2)).await;
        let raft = cluster.raft(leader);
        for answer in [raft.demote_member(live).await, raft.remove_member(live).await] {
            assert!(matches!(answer, Err(MembershipError::Refused(_))), "{answer:?}");
        }
        raft.demote_member(dead).await.expect("the dead one may go");
        raft.remove_member(dead).await.expect("altogether");
        cluster.write("a", "1").await;
    });
    simulate(803, async |mut cluster| {
        cluster.form(1).await;
        let answer = cluster.raft(1).demote_member(1).await;
        assert!(matches!(answer, Err(MembershipError::Refused(_))), "the last voter stays");
    });
}

#[test]
fn three_joins_at_once_while_others_go() {
    for seed in 810..815 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let leader = cluster.leader().await;
            for id in 4..=6 {
                cluster.start(id).await.set_readiness(Readiness::Ready);
            }
            let raft = cluster.raft(leader);
            let gone = 1 + leader % 3;
            let joins =
                (4..=6).map(|id| raft.add_member(AddMember { member: member(id), voter: true }));
            let (joined, demoted) = futures::join!(join_all(joins), raft.demote_member(gone));
            assert!(joined.iter().all(Result::is_ok), "{joined:?}");
            // It waited for the others in vain, or it was done: both are answers.
            if demoted.is_err() {
                raft.demote_member(gone).await.expect("it is demoted now");
            }
            let voters: Vec<u64> = (1..=6).filter(|id| *id != gone).collect();
            until_settled(&cluster, &voters, &[gone]).await;
            one_change_at_a_time(&cluster, leader);
            cluster.write("a", "1").await;
        });
    }
}

/// Each set of voters differs from the one before by one node.
fn one_change_at_a_time(cluster: &Cluster, id: u64) {
    let log = &cluster.nodes[&id].log;
    let end = log.state().last.expect("entries").index + 1;
    let entries = log.read(0..end, usize::MAX).expect("the log reads");
    let targets = entries.into_iter().filter_map(|entry| match entry.payload {
        Some(Payload::Membership(members)) => Some(members.configs.last()?.node_ids.clone()),
        _ => None,
    });
    let targets: Vec<Vec<u64>> = targets.collect();
    for pair in targets.windows(2) {
        let differ = |a: &[u64], b: &[u64]| a.iter().filter(|id| !b.contains(id)).count();
        assert!(differ(&pair[0], &pair[1]) + differ(&pair[1], &pair[0]) <= 1, "{pair:?}");
    }
}

/// The leader dies once the first of the two entries of a change is on another node's disk, before
/// it wrote the second. Nobody asks again.
async fn cut_short(mut cluster: Cluster, demote: bool) {
    cluster.form(3).await;
    let leader = cluster.leader().await;
    let (gone, other) = (1 + leader % 3, 1 + (leader + 1) % 3);
    let raft = cluster.raft(leader);
    let joint = async {
        loop {
            let log = &cluster.nodes[&other].log;
            let last = log.state().last.expect("entries").index;
            let entry = log.read(last..last + 1, 1).expect("the log reads").pop();
            let payload = entry.and_then(|entry| entry.payload);
            if let Some(Payload::Membership(members)) = payload
                && members.configs.len() == 2
            {
                return;
            }
            cluster.sleep(Duration::from_micros(50)).await;
        }
    };
    let changing = async {
        if demote { raft.demote_member(gone).await } else { raft.remove_member(gone).await }
    };
    let first = futures::future::select(joint.boxed_local(), changing.boxed_local()).await;
    assert!(matches!(first, futures::future::Either::Left(_)), "the change was too quick");
    drop(first);
    cluster.router.isolate(leader, [gone, other]);
    cluster.stop(leader).await;
    cluster.router.heal();
    cluster.start(leader).await.set_readiness(Readiness::Ready);
    let mut voters = vec![leader, other];
    voters.sort_unstable();
    let learners: &[u64] = if demote { &[gone] } else { &[] };
    cluster.sleep(Duration::from_secs(5)).await;
    until_settled(&cluster, &voters, learners).await;
}

#[test]
fn a_removal_that_was_cut_short_is_ended_without_being_asked_again() {
    for seed in 820..826 {
        simulate(seed, async |cluster| cut_short(cluster, false).await);
    }
}

#[test]
fn a_demotion_that_was_cut_short_leaves_a_learner() {
    for seed in 830..836 {
        simulate(seed, async |cluster| cut_short(cluster, true).await);
    }
}

#[test]
fn members_say_whether_they_are_to_vote() {
    simulate(840, async |mut cluster| {
        cluster.form(2).await;
        let leader = cluster.leader().await;
        let members = cluster.raft(leader).status().members;
        assert_eq!(members[0].member, wanted(1));
        cluster.raft(leader).demote_member(1 + leader % 2).await.expect("it is demoted");
        let members = cluster.raft(leader).status().members;
        assert_eq!(members[usize::from(leader == 1)].member, member(1 + leader % 2));
    });
}

/// A peer of a later epoch that has no place for this node.
fn later_epoch() -> Tamper {
    Arc::new(|status: &mut v1::StatusReply| {
        status.epoch += 1;
        status.not_a_member = true;
    })
}

#[test]
fn a_node_that_a_later_epoch_has_no_place_for_stops() {
    simulate(850, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let (node, peer) = (1 + leader % 3, 1 + (leader + 1) % 3);
        cluster.router.tamper(node, peer, later_epoch());
        let fenced = |cluster: &Cluster| cluster.raft(node).status().fenced.then_some(());
        cluster.eventually("the fence", fenced).await;
        let status = cluster.raft(node).status();
        assert!(!status.quarantined && status.fatal.is_none() && !status.is_leader, "{status:?}");
        let refused = cluster.raft(node).propose(put("a", "1")).await;
        assert!(matches!(refused, Err(ProposeError::Stopped(_))));
        cluster.write("a", "the others go on").await;
    });
}

/// Of the same epoch it may only lag.
#[test]
fn a_peer_of_the_same_epoch_fences_nobody() {
    simulate(851, async |mut cluster| {
        cluster.form(3).await;
        let tamper: Tamper = Arc::new(|status| status.not_a_member = true);
        cluster.router.tamper(1, 2, tamper.clone());
        cluster.router.tamper(1, 3, tamper);
        cluster.sleep(Duration::from_secs(10)).await;
        assert!(!cluster.raft(1).status().fenced);
    });
}

/// An operator made one of three nodes the whole cluster; the other two come back as they were.
#[test]
fn an_old_majority_is_fenced_by_the_survivor() {
    simulate(852, async |mut cluster| {
        cluster.form(3).await;
        cluster.write("a", "1").await;
        cluster.sleep(Duration::from_secs(3)).await;
        let survivor = cluster.leader().await;
        let old: Vec<u64> = (1..=3).filter(|id| *id != survivor).collect();
        for id in 1..=3 {
            cluster.stop(id).await;
        }
        // What `conclaved recover` writes.
        let log = cluster.open_log(survivor);
        let last = log.state().last.expect("entries");
        let id = |index| Some(v1::LogId { term: last.term + 1, leader_id: 0, index });
        let alone = v1::Membership {
            configs: vec![v1::VoterSet { node_ids: vec![survivor] }],
            members: vec![wanted(survivor)],
        };
        let recovered = v1::Recovered { epoch: 2, survivor };
        let change = v1::cluster_change::Kind::Recovered(recovered);
        let cluster_change = Some(v1::ClusterChange { kind: Some(change) });
        let command = v1::Command { cluster: cluster_change, ..v1::Command::default() };
        let command = prost::Message::encode_to_vec(&command).into();
        let entries = vec![
            v1::Entry { id: id(last.index + 1), payload: Some(Payload::Membership(alone)) },
            v1::Entry { id: id(last.index + 2), payload: Some(Payload::Command(command)) },
        ];
        log.append(entries, Box::new(drop));
        let (done, stored) = crate::durable();
        log.save_vote(v1::Vote { term: last.term + 1, node_id: survivor, committed: false }, done);
        stored.await.expect("the writer ran").expect("it is on disk");
        log.close();

        assert!(cluster.greet_and_start([survivor]).await.is_empty());
        cluster.write("b", "a new epoch").await;
        assert_eq!(cluster.raft(survivor).status().epoch, 2);
        let out = cluster.greet_and_start(old.clone()).await;
        assert!(!out.is_empty(), "at least the first to ask the survivor is told");
        assert!(out.values().all(|why| why.why == Out::Fenced), "{out:?}");
        // Should the two have let each other in, they are told while they run.
        for id in old.iter().filter(|id| !out.contains_key(id)) {
            let fenced = |cluster: &Cluster| cluster.raft(*id).status().fenced.then_some(());
            cluster.eventually("the fence", fenced).await;
        }
        cluster.sleep(HEARTBEAT).await;
        assert_eq!(cluster.read(survivor, "b").await.as_deref(), Some("a new epoch"));
    });
}

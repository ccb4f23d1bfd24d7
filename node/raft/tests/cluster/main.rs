//! Three nodes, one thread, one seed: what a cluster promises.

mod compaction;
mod disks;
mod greetings;
mod joiners;
mod limits;
mod members;
mod refusals;
mod snapshots;
mod support;
mod time;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::LogId;
use conclave_proto::v1::entry::Payload;
use conclave_raft::{AddMember, MembershipError, ProposeError, ReadError, Readiness};
use conclave_store::log::Done;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::Outcome;
use futures::future::join_all;
use futures::{StreamExt, stream};
use support::{
    CLUSTER_ID, Cluster, ELECTION_MAX, HEARTBEAT, member, open_state, put, simulate, traced,
};
use tokio::sync::oneshot;

#[test]
fn one_node_bootstraps_and_serves() {
    simulate(1, async |mut cluster| {
        cluster.form(1).await;
        let first = cluster.write("a", "1").await;
        let second = cluster.write("a", "2").await;
        assert_eq!(first.outcome, Outcome::Applied { revision: first.revision });
        assert!(second.revision > first.revision);
        assert_eq!(cluster.read(1, "a").await.as_deref(), Some("2"));
        let again = cluster.raft(1).bootstrap(member(1)).await;
        assert!(matches!(again, Err(MembershipError::Refused(_))));
    });
}

#[test]
fn three_nodes_commit_and_every_one_reads() {
    simulate(2, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.raft(cluster.leader().await);
        let writes = (0..100).map(|n| leader.propose(put(&format!("k{n}"), &n.to_string())));
        let mut revisions = Vec::new();
        for outcome in join_all(writes).await {
            revisions.push(outcome.expect("the write commits").revision);
        }
        assert!(revisions.is_sorted(), "one entry each, in the order of proposing");
        for id in 1..=3 {
            for n in [0, 57, 99] {
                assert_eq!(cluster.read(id, &format!("k{n}")).await, Some(n.to_string()));
            }
        }
        let voters = cluster.raft(3).status().members;
        assert_eq!(voters.iter().filter(|view| view.voter).count(), 3);
        assert_eq!(voters[1].member, wanted(2));
    });
}

#[test]
fn reads_that_wait_share_a_round() {
    simulate(3, async |mut cluster| {
        cluster.form(3).await;
        cluster.write("a", "1").await;
        let follower = cluster.raft(1 + cluster.leader().await % 3);
        let before = cluster.router.read_index_calls();
        let reads = join_all((0..500).map(|_| follower.read_barrier())).await;
        assert!(reads.into_iter().all(|read| read.is_ok()));
        assert_eq!(cluster.router.read_index_calls() - before, 1);
    });
}

#[test]
fn a_dead_leader_is_replaced_and_nothing_is_lost() {
    for seed in 100..112 {
        simulate(seed, a_leader_dies);
    }
}

async fn a_leader_dies(mut cluster: Cluster) {
    cluster.form(3).await;
    cluster.write("a", "before").await;
    let dead = cluster.leader().await;
    cluster.stop(dead).await;
    let died = cluster.ports.clock.monotonic();
    let successor = cluster.leader().await;
    let took = cluster.ports.clock.monotonic() - died;
    assert_ne!(successor, dead);
    assert!(took < Duration::from_secs(2), "failover took {took:?}");
    assert_eq!(cluster.read(successor, "a").await.as_deref(), Some("before"));
    cluster.write("b", "after").await;

    let restarted = cluster.start(dead).await;
    restarted.set_readiness(Readiness::Ready);
    assert_eq!(cluster.read(dead, "a").await.as_deref(), Some("before"));
    assert_eq!(cluster.read(dead, "b").await.as_deref(), Some("after"));
}

#[test]
fn a_leader_without_quorum_serves_nothing() {
    simulate(5, async |mut cluster| {
        cluster.form(3).await;
        let old = cluster.leader().await;
        cluster.write("a", "1").await;
        cluster.router.isolate(old, (1..=3).filter(|id| *id != old));
        let cut_off = cluster.raft(old);
        let started = cluster.ports.clock.monotonic();
        assert!(matches!(cut_off.read_barrier().await, Err(ReadError::Unavailable)));
        let took = cluster.ports.clock.monotonic() - started;
        assert!(took <= ELECTION_MAX + HEARTBEAT, "the read took {took:?}");

        let lost = cut_off.propose(put("a", "lost"));
        let healing = async {
            let leader = cluster.eventually("a successor", |cluster| {
                let others = cluster.nodes.iter().filter(|(id, _)| **id != old);
                others.filter(|(_, node)| node.raft.status().is_leader).map(|(id, _)| *id).next()
            });
            let leader = leader.await;
            let won = cluster.raft(leader).propose(put("a", "won")).await;
            won.expect("the majority goes on");
            cluster.router.heal();
        };
        let (lost, ()) = futures::join!(lost, healing);
        assert!(matches!(lost, Err(ProposeError::Unknown | ProposeError::NotLeader)), "{lost:?}");
        assert_eq!(cluster.read(old, "a").await.as_deref(), Some("won"));
    });
}

#[test]
fn a_sealed_node_leaves_the_lead_to_ready_ones() {
    for seed in 10..14 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let leader = cluster.leader().await;
            let sealed = 1 + leader % 3;
            cluster.raft(sealed).set_readiness(Readiness::Sealed);
            cluster.stop(leader).await;
            assert_ne!(cluster.leader().await, sealed);
        });
    }
}

#[test]
fn an_all_sealed_cluster_elects_a_caretaker_that_hands_over() {
    simulate(6, async |mut cluster| {
        cluster.form(3).await;
        cluster.write("a", "1").await;
        for id in 1..=3 {
            cluster.stop(id).await;
        }
        let stopped = cluster.ports.clock.monotonic();
        for id in 1..=3 {
            cluster.start(id).await;
        }
        let caretaker = cluster.leader().await;
        let took = cluster.ports.clock.monotonic() - stopped;
        assert!(took >= ELECTION_MAX * 3, "it campaigned after {took:?}");
        let refused = cluster.raft(caretaker).propose(put("a", "2")).await;
        assert!(matches!(refused, Err(ProposeError::NotLeader)));
        for id in 1..=3 {
            assert_eq!(cluster.read(id, "a").await.as_deref(), Some("1"), "ReadIndex works");
        }

        let ready = 1 + caretaker % 3;
        cluster.raft(ready).set_readiness(Readiness::Ready);
        let handed = cluster.ports.clock.monotonic();
        cluster
            .eventually("the hand-over", |cluster| {
                cluster.raft(ready).status().is_leader.then_some(())
            })
            .await;
        let took = cluster.ports.clock.monotonic() - handed;
        assert!(took < Duration::from_secs(1), "the hand-over took {took:?}");
        cluster.write("a", "2").await;
    });
}

#[test]
fn leadership_goes_to_an_unsealed_voter_or_stays() {
    simulate(7, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let (sealed, ready) = (1 + leader % 3, 1 + (leader + 1) % 3);
        let follower = cluster.raft(ready).transfer_leadership().await;
        assert!(matches!(follower, Err(MembershipError::NotLeader)));
        cluster.raft(sealed).set_readiness(Readiness::Sealed);
        cluster.raft(leader).transfer_leadership().await.expect("it hands over");
        assert_eq!(cluster.leader().await, ready);

        cluster.raft(leader).set_readiness(Readiness::Sealed);
        let refused = cluster.raft(ready).transfer_leadership().await;
        assert!(matches!(refused, Err(MembershipError::Refused(_))), "{refused:?}");
        assert_eq!(cluster.leader().await, ready);
    });
}

#[test]
fn a_lagging_node_gets_a_snapshot() {
    simulate(8, async |mut cluster| {
        (cluster.snapshot_entries, cluster.keep_entries) = (50, 10);
        cluster.form(3).await;
        let lagging = 1 + cluster.leader().await % 3;
        cluster.stop(lagging).await;
        write_many(&cluster, 0..300).await;
        cluster.sleep(Duration::from_secs(5)).await;
        cluster.start(lagging).await.set_readiness(Readiness::Ready);
        assert_eq!(cluster.read(lagging, "k0").await.as_deref(), Some("0"));
        assert_eq!(cluster.read(lagging, "k299").await.as_deref(), Some("299"));
        assert!(cluster.router.snapshot_calls() > 0, "the log alone cannot have caught it up");

        // What it got is its own now: it comes back from its disk alone.
        cluster.stop(lagging).await;
        let again = cluster.start(lagging).await;
        assert!(again.status().applied_index >= 250, "{:?}", again.status());
        assert_eq!(cluster.read(lagging, "k0").await.as_deref(), Some("0"));
    });
}

#[test]
fn members_come_and_go() {
    simulate(9, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        cluster.start(4).await.set_readiness(Readiness::Ready);
        let learner = AddMember { member: member(4), voter: false };
        cluster.raft(leader).add_member(learner.clone()).await.expect("a learner is added");
        let view = cluster.raft(leader).status().members[3].clone();
        assert!(!view.voter);
        cluster.write("a", "1").await;
        assert_eq!(cluster.read(4, "a").await.as_deref(), Some("1"), "learners read, too");

        let other_key = member_with_other_pin(4);
        let other = AddMember { member: other_key, voter: true };
        let refused = cluster.raft(leader).add_member(other).await;
        assert!(matches!(refused, Err(MembershipError::Refused(_))), "ids are not reused");
        let voter = AddMember { voter: true, ..learner };
        cluster.raft(leader).add_member(voter).await.expect("the learner votes");
        assert!(cluster.raft(leader).status().members[3].voter);

        cluster.raft(leader).remove_member(4).await.expect("the voter goes");
        assert_eq!(cluster.raft(leader).status().members.len(), 3);
        let unknown = cluster.raft(leader).remove_member(4).await;
        assert!(matches!(unknown, Err(MembershipError::Refused(_))));

        let gone = cluster.raft(leader).remove_member(leader).await;
        assert!(matches!(gone, Err(MembershipError::NotLeader)), "it hands over first: {gone:?}");
        let successor = cluster.leader().await;
        assert_ne!(successor, leader);
        cluster.raft(successor).remove_member(leader).await.expect("the old leader goes");
        assert_eq!(cluster.raft(successor).status().members.len(), 2);
        cluster.stop(leader).await;
        cluster.stop(4).await;
        cluster.write("a", "2").await;
    });
}

#[test]
fn the_last_voter_stays() {
    simulate(21, async |mut cluster| {
        cluster.form(1).await;
        let refused = cluster.raft(1).remove_member(1).await;
        assert!(matches!(refused, Err(MembershipError::Refused(_))));
    });
}

#[test]
fn a_slow_joiner_votes_once_it_has_caught_up() {
    simulate(22, async |mut cluster| {
        cluster.form(1).await;
        write_many(&cluster, 0..300).await;
        // Nobody answers at node 2 yet.
        let add = AddMember { member: member(2), voter: true };
        cluster.raft(1).add_member(add).await.expect("it is added as learner");
        assert!(!cluster.raft(1).status().members[1].voter);
        cluster.write("a", "the quorum is still one").await;
        cluster.start(2).await;
        cluster
            .eventually("the promotion", |cluster| {
                cluster.raft(1).status().members[1].voter.then_some(())
            })
            .await;
    });
}

#[test]
fn the_odd_one_out_stops_and_the_others_go_on() {
    simulate(23, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let odd = 1 + leader % 3;
        // Seen from the odd one both others answer with one and the same other hash.
        for id in (1..=3).filter(|id| *id != odd) {
            let flip: support::Tamper = Arc::new(|status| {
                if !status.state_hash.is_empty() {
                    status.state_hash = vec![0xee; 64].into();
                }
            });
            cluster.router.tamper(odd, id, flip);
        }
        write_many(&cluster, 0..1_100).await;
        cluster
            .eventually("the quarantine", |cluster| {
                cluster.raft(odd).status().quarantined.then_some(())
            })
            .await;
        let status = cluster.raft(odd).status();
        assert_eq!(status.fatal, None);
        serves_nothing(&cluster, odd).await;
        cluster.write("a", "the others go on").await;
    });
}

#[test]
fn a_leader_that_is_the_odd_one_out_stops_and_another_leads() {
    simulate(31, async |mut cluster| {
        cluster.form(3).await;
        let odd = cluster.leader().await;
        for id in (1..=3).filter(|id| *id != odd) {
            let flip: support::Tamper = Arc::new(|status| {
                if !status.state_hash.is_empty() {
                    status.state_hash = vec![0xee; 64].into();
                }
            });
            cluster.router.tamper(odd, id, flip);
        }
        write_many(&cluster, 0..1_100).await;
        cluster
            .eventually("the quarantine", |cluster| {
                cluster.raft(odd).status().quarantined.then_some(())
            })
            .await;
        serves_nothing(&cluster, odd).await;
        assert_ne!(cluster.leader().await, odd);
        cluster.write("a", "the others go on").await;
    });
}

/// A quarantined node answers nobody: clients, readers and peers alike.
async fn serves_nothing(cluster: &Cluster, id: u64) {
    let node = cluster.raft(id);
    let status = node.status();
    assert!(status.quarantined && !status.is_leader, "{status:?}");
    assert!(matches!(node.read_barrier().await, Err(ReadError::Stopped(_))));
    assert!(matches!(node.propose(put("a", "1")).await, Err(ProposeError::Stopped(_))));
    assert!(node.on_read_index(v1::ReadIndexRequest { from: 9 }).await.is_err());
    assert!(node.on_status(v1::StatusRequest { from: 9, ..Default::default() }).await.is_err());
}

#[test]
fn limits_are_checked_before_anything_is_appended() {
    simulate(24, async |mut cluster| {
        cluster.form(1).await;
        let node = cluster.raft(1);
        let before = node.status().last_log_index;
        let large = node.propose(put("a", &"x".repeat((1 << 20) + 1))).await;
        assert!(matches!(large, Err(ProposeError::TooLarge { bytes_max: 1_048_576, .. })));
        let mut twice = put("a", "1");
        twice.writes.extend(put("a", "2").writes);
        let mut nameless = put("a", "1");
        nameless.writes[0].key = None;
        for malformed in [twice, nameless] {
            let refused = node.propose(malformed).await;
            assert!(matches!(refused, Err(ProposeError::Invalid(_))), "{refused:?}");
        }
        assert_eq!(node.status().last_log_index, before);
        node.propose(put("a", &"x".repeat(1 << 20))).await.expect("a value of the limit fits");

        let flood = join_all((0..3_000).map(|n| node.propose(put("b", &n.to_string())))).await;
        let busy = flood.iter().filter(|result| matches!(result, Err(ProposeError::Busy))).count();
        let taken = flood.iter().filter(|result| result.is_ok()).count();
        assert_eq!((taken, busy), (2_048, 952));
        node.propose(put("b", "later")).await.expect("the slots are free again");
    });
}

#[test]
fn a_node_that_was_shut_down_says_so() {
    simulate(25, async |mut cluster| {
        cluster.form(1).await;
        let node = cluster.raft(1);
        node.shutdown().await;
        assert!(matches!(node.propose(put("a", "1")).await, Err(ProposeError::Stopped(_))));
        assert!(matches!(node.read_barrier().await, Err(ReadError::Stopped(_))));
        assert_eq!(node.status().fatal, None);
    });
}

#[test]
fn changes_are_announced() {
    simulate(26, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let follower = cluster.raft(1 + leader % 3);
        // Whatever the start-up still had to tell.
        cluster.sleep(Duration::from_secs(1)).await;
        let changed = follower.changed();
        cluster.raft(leader).transfer_leadership().await.expect("it hands over");
        let began = cluster.ports.clock.monotonic();
        changed.await;
        assert!(cluster.ports.clock.monotonic() - began < Duration::from_millis(200));
    });
}

#[test]
fn stamped_time_never_goes_back() {
    simulate(27, async |mut cluster| {
        cluster.form(3).await;
        cluster.write("a", "1").await;
        let first = cluster.nodes[&1].state.view().stamped_ms();
        cluster.sleep(Duration::from_secs(5)).await;
        let point = cluster.raft(2).read_barrier().await.expect("a read point");
        assert!(point.leader_ms >= first + 5_000, "time passes on an idle cluster");
        let leader = cluster.leader().await;
        cluster.stop(leader).await;
        let successor = cluster.leader().await;
        let later = cluster.raft(successor).read_barrier().await.expect("a read point");
        assert!(later.leader_ms >= point.leader_ms);
    });
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        traced(seed, async |mut cluster: Cluster| {
            cluster.form(3).await;
            write_many(&cluster, 0..20).await;
            let leader = cluster.leader().await;
            cluster.stop(leader).await;
            cluster.write("a", "1").await;
        })
    };
    assert!(history(77) == history(77), "two runs of one seed differ");
    assert!(history(77) != history(78), "the seed decides nothing");
}

/// A snapshot that arrived right before a crash, over a log tail that was never committed.
#[test]
fn a_snapshot_wins_over_the_uncommitted_tail_it_contradicts() {
    simulate(28, async |mut cluster| {
        let log = cluster.open_log(1);
        let tail = (0..=20).map(|index| entry(1, index)).collect();
        let (done, stored) = durable();
        log.append(tail, done);
        stored.await.expect("the writer ran").expect("it is on disk");
        log.close();
        let state = open_state();
        for index in 0..=15 {
            state.apply(&entry(2, index)).expect("it applies");
        }
        let snapshots = SnapshotStore::open(cluster.disk(1)).expect("snapshots open");
        snapshots.save(state.export().expect("an export"), CLUSTER_ID).expect("it is saved");

        let node = cluster.start(1).await;
        let status = node.status();
        assert_eq!((status.applied_index, status.last_log_index), (15, 15), "{status:?}");
        assert_eq!(status.members.len(), 1);
        node.set_readiness(Readiness::Ready);
        cluster.write("a", "it goes on").await;
    });
}

#[test]
fn a_log_whose_beginning_is_lost_does_not_start() {
    simulate(29, async |mut cluster| {
        let log = cluster.open_log(1);
        let (done, stored) = durable();
        log.append((0..=20).map(|index| entry(1, index)).collect(), done);
        log.purge(LogId { term: 1, leader_id: 0, index: 9 }, Box::new(drop));
        stored.await.expect("the writer ran").expect("it is on disk");
        log.close();
        let refused = cluster.try_start(1).await.err();
        assert!(matches!(refused, Some(MembershipError::Refused(_))), "{refused:?}");
    });
}

/// Messages that lack or invent something are refused, and the node goes on.
#[test]
fn what_a_peer_makes_up_is_refused() {
    simulate(30, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let node = cluster.raft(1 + leader % 3);
        let own = node.status().node_id;
        let vote = |from, node_id| v1::VoteRequest {
            from,
            vote: Some(v1::Vote { term: 99, node_id, committed: false }),
            ..Default::default()
        };
        assert!(node.on_vote(v1::VoteRequest::default()).await.is_err());
        assert!(node.on_vote(vote(9, 8)).await.is_err(), "not its own vote");
        assert!(node.on_vote(vote(own, own)).await.is_err(), "it claims to be its receiver");
        assert!(node.on_transfer(v1::TransferRequest::default()).await.is_err());
        let appends = stream::iter([v1::AppendRequest::default()]).boxed();
        let replies: Vec<_> = node.on_append(appends).collect().await;
        assert!(matches!(replies.as_slice(), [Err(_)]), "{replies:?}");
        for parts in [
            vec![],
            vec![v1::SnapshotPart { part: None }],
            vec![part(v1::snapshot_part::Part::Chunk(v1::SnapshotChunk::default()))],
            vec![part(v1::snapshot_part::Part::Start(v1::SnapshotStart::default()))],
            vec![foreign_snapshot(leader)],
        ] {
            assert!(node.on_snapshot(stream::iter(parts).boxed()).await.is_err());
        }
        assert_eq!(node.status().fatal, None);
        cluster.write("a", "1").await;
        assert_eq!(cluster.read(own, "a").await.as_deref(), Some("1"));
    });
}

fn part(part: v1::snapshot_part::Part) -> v1::SnapshotPart {
    v1::SnapshotPart { part: Some(part) }
}

fn foreign_snapshot(from: u64) -> v1::SnapshotPart {
    part(v1::snapshot_part::Part::Start(v1::SnapshotStart {
        from,
        vote: Some(v1::Vote { term: 99, node_id: from, committed: true }),
        header: Some(v1::SnapshotHeader { cluster_id: "another".into(), ..Default::default() }),
    }))
}

/// The first entry makes node 1 the only voter, the others are blank.
fn entry(term: u64, index: u64) -> v1::Entry {
    let payload = match index {
        0 => Payload::Membership(v1::Membership {
            configs: vec![v1::VoterSet { node_ids: vec![1] }],
            members: vec![member(1)],
        }),
        _ => Payload::Blank(v1::Blank {}),
    };
    v1::Entry { id: Some(LogId { term, leader_id: 0, index }), payload: Some(payload) }
}

fn durable() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (sender, receiver) = oneshot::channel();
    (Box::new(move |result| drop(sender.send(result))), receiver)
}

async fn write_many(cluster: &Cluster, numbers: std::ops::Range<u64>) {
    let leader = cluster.raft(cluster.leader().await);
    let writes = numbers.map(|n| leader.propose(put(&format!("k{n}"), &n.to_string())));
    for outcome in join_all(writes).await {
        outcome.expect("the write commits");
    }
}

/// A member as the membership has it once it was asked to vote.
fn wanted(id: u64) -> v1::Member {
    v1::Member { voter_wanted: true, ..member(id) }
}

fn member_with_other_pin(id: u64) -> v1::Member {
    v1::Member { spki_pin: vec![0xff; 32].into(), ..member(id) }
}

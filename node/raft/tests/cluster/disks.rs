//! Disks that are slow, hang or are full: who leads, and how often that changes.

use std::time::Duration;

use conclave_proto::v1;
use conclave_raft::{ProposeError, Readiness};
use futures::future::BoxFuture;
use futures::{FutureExt, future};

use crate::support::{Cluster, ELECTION_MAX, HEARTBEAT, key, put, simulate};

/// Disks with syncs of 200 ms.
const SLOW: Duration = Duration::from_millis(200);

fn term(cluster: &Cluster) -> u64 {
    cluster.nodes.values().map(|node| node.raft.status().term).max().expect("a node")
}

/// Writes all the time, ten clients at once, for this long.
async fn under_load(cluster: &Cluster, duration: Duration) {
    let until = cluster.ports.clock.monotonic() + duration;
    let client = |client: u64| async move {
        let mut taken = 0;
        while cluster.ports.clock.monotonic() < until {
            let leading = cluster.nodes.iter().filter(|(_, node)| node.raft.status().is_leader);
            let newest = leading.max_by_key(|(_, node)| node.raft.status().term);
            let Some((_, node)) = newest else {
                cluster.sleep(HEARTBEAT / 4).await;
                continue;
            };
            let write = node.raft.propose(put(&format!("client {client}"), "1"));
            // A node whose disk hangs may never answer.
            match cluster.ports.within(ELECTION_MAX * 2, write).await {
                Ok(Ok(_)) => taken += 1,
                Ok(Err(_)) | Err(_) => cluster.sleep(HEARTBEAT / 4).await,
            }
        }
        taken
    };
    let taken: u64 = future::join_all((0..10).map(client)).await.into_iter().sum();
    assert!(taken > 0, "nothing was written");
}

/// The leader, and two others.
async fn roles(cluster: &Cluster) -> (u64, u64, u64) {
    let leader = cluster.leader().await;
    (leader, 1 + leader % 3, 1 + (leader + 1) % 3)
}

#[test]
fn a_slow_follower_changes_no_leader() {
    for seed in 700..705 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let (leader, slow, _) = roles(&cluster).await;
            let before = term(&cluster);
            cluster.slow_down(slow, SLOW);
            under_load(&cluster, Duration::from_secs(30)).await;
            assert_eq!((cluster.leader().await, term(&cluster)), (leader, before));
            assert!(cluster.raft(slow).status().unfit);
            assert!(!cluster.raft(leader).status().unfit);
        });
    }
}

#[test]
fn a_slow_leader_hands_over_once() {
    for seed in 710..715 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let (slow, ..) = roles(&cluster).await;
            let before = term(&cluster);
            cluster.slow_down(slow, SLOW);
            under_load(&cluster, Duration::from_secs(60)).await;
            assert_ne!(cluster.leader().await, slow);
            assert_eq!(term(&cluster) - before, 1, "one hand-over, one term");
        });
    }
}

#[test]
fn where_all_disks_are_slow_leadership_stays() {
    simulate(720, async |mut cluster| {
        cluster.form(3).await;
        let before = term(&cluster);
        for id in 1..=3 {
            cluster.slow_down(id, SLOW);
        }
        under_load(&cluster, Duration::from_secs(60)).await;
        // The followers may be found slow after the leader: it hands over once at most.
        assert!(term(&cluster) - before <= 1, "{} changes", term(&cluster) - before);
        cluster.write("a", "it goes on").await;
    });
}

#[test]
fn a_leader_whose_disk_hangs_hands_over_within_two_election_timeouts() {
    for seed in 730..740 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let (hung, ..) = roles(&cluster).await;
            let before = term(&cluster);
            cluster.write("a", "1").await;
            let loaded = under_load(&cluster, Duration::from_secs(1));
            loaded.await;
            cluster.hang(hung);
            let began = cluster.ports.clock.monotonic();
            let successor = cluster.eventually("a successor", |cluster| {
                let others = cluster.nodes.iter().filter(|(id, _)| **id != hung);
                others.filter(|(_, node)| node.raft.status().is_leader).map(|(id, _)| *id).next()
            });
            // The write is what hangs; the followers' disks commit it.
            let old = cluster.raft(hung);
            let written = old.propose(put("a", "2"));
            let (successor, written) = future::join(successor, written).await;
            let took = cluster.ports.clock.monotonic() - began;
            assert!(took <= ELECTION_MAX * 2, "it took {took:?}");
            written.expect("a quorum has it on disk");
            assert_eq!(term(&cluster) - before, 1);
            cluster.raft(successor).propose(put("a", "3")).await.expect("the successor leads");
            assert_eq!(cluster.read(successor, "a").await.as_deref(), Some("3"));

            cluster.slow_down(hung, Duration::from_micros(200));
            cluster.sleep(Duration::from_secs(2)).await;
            assert_eq!(cluster.read(hung, "a").await.as_deref(), Some("3"));
            assert_eq!((cluster.leader().await, term(&cluster) - before), (successor, 1));
        });
    }
}

#[test]
fn a_full_leader_hands_over_and_heals() {
    for seed in 750..755 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let (full, ..) = roles(&cluster).await;
            let before = term(&cluster);
            cluster.raft(full).set_readiness(Readiness::Full);
            let began = cluster.ports.clock.monotonic();
            cluster
                .eventually("a successor", |cluster| {
                    let leads = |id: &u64| cluster.raft(*id).status().is_leader;
                    cluster.nodes.keys().find(|id| **id != full && leads(id)).copied()
                })
                .await;
            let took = cluster.ports.clock.monotonic() - began;
            assert!(took <= Duration::from_secs(2), "it took {took:?}");
            cluster.write("a", "1").await;
            assert!(cluster.raft(full).status().unfit);
            let refused = cluster.raft(full).propose(put("a", "2")).await;
            assert!(matches!(refused, Err(ProposeError::NotLeader)), "{refused:?}");
            cluster.sleep(Duration::from_secs(20)).await;
            assert_eq!(term(&cluster) - before, 1, "one hand-over");
            cluster.raft(full).set_readiness(Readiness::Ready);
            assert!(!cluster.raft(full).status().unfit);
        });
    }
}

fn delete(name: &str) -> v1::Command {
    let write = v1::Write { key: Some(key(name)), value: None };
    v1::Command { writes: vec![write], ..Default::default() }
}

/// Everybody's disk is full: whoever leads stays, answers reads and lets go of what is deleted.
#[test]
fn where_all_are_full_a_caretaker_stays_and_deletes() {
    simulate(760, async |mut cluster| {
        cluster.form(3).await;
        cluster.write("a", "1").await;
        let leader = cluster.leader().await;
        let before = term(&cluster);
        for id in 1..=3 {
            cluster.raft(id).set_readiness(Readiness::Full);
        }
        cluster.sleep(Duration::from_secs(30)).await;
        assert_eq!((cluster.leader().await, term(&cluster)), (leader, before));
        let raft = cluster.raft(leader);
        let refused = raft.propose(put("b", "1")).await;
        assert!(matches!(refused, Err(ProposeError::Full)), "{refused:?}");
        let mut mixed = delete("a");
        mixed.writes.extend(put("b", "1").writes);
        assert!(matches!(raft.propose(mixed).await, Err(ProposeError::Full)));
        for id in 1..=3 {
            assert_eq!(cluster.read(id, "a").await.as_deref(), Some("1"));
        }
        raft.propose(delete("a")).await.expect("deleting frees space");
        assert_eq!(cluster.read(leader, "a").await, None);
        raft.remove_member(1 + leader % 3).await.expect("membership changes go on");

        raft.set_readiness(Readiness::Ready);
        cluster.write("b", "1").await;
        assert_eq!(cluster.leader().await, leader);
    });
}

#[test]
fn a_full_follower_leaves_the_lead_to_others() {
    for seed in 770..780 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let (leader, full, other) = roles(&cluster).await;
            cluster.raft(full).set_readiness(Readiness::Full);
            cluster.stop(leader).await;
            assert_eq!(cluster.leader().await, other);
            // And where only full ones are left, one of them leads all the same.
            cluster.raft(other).set_readiness(Readiness::Full);
            cluster.start(leader).await.set_readiness(Readiness::Full);
            cluster.stop(other).await;
            let caretaker = cluster.leader().await;
            cluster.raft(caretaker).propose(delete("a")).await.expect("it takes deletes");
        });
    }
}

#[test]
fn who_was_asked_to_hand_over_prefers_a_fit_successor_and_takes_an_unfit_one() {
    simulate(780, async |mut cluster| {
        cluster.form(3).await;
        let (leader, full, fit) = roles(&cluster).await;
        cluster.raft(full).set_readiness(Readiness::Full);
        cluster.raft(leader).transfer_leadership().await.expect("it hands over");
        assert_eq!(cluster.leader().await, fit);
        cluster.raft(leader).set_readiness(Readiness::Sealed);
        // It leads for long enough to know who answers it.
        cluster.sleep(HEARTBEAT * 2).await;
        cluster.raft(fit).transfer_leadership().await.expect("it hands over");
        assert_eq!(cluster.leader().await, full);
    });
}

/// Two nodes that take turns at being slow do not take turns at leading.
#[test]
fn slow_nodes_do_not_play_ping_pong() {
    simulate(790, async |mut cluster| {
        cluster.form(3).await;
        let (first, second, third) = roles(&cluster).await;
        let before = term(&cluster);
        cluster.slow_down(third, SLOW);
        for round in 0..10 {
            let (slow, fast) = if round % 2 == 0 { (first, second) } else { (second, first) };
            cluster.slow_down(slow, SLOW);
            cluster.slow_down(fast, Duration::from_micros(200));
            let loaded: BoxFuture<'_, ()> = under_load(&cluster, Duration::from_secs(3)).boxed();
            loaded.await;
        }
        assert!(term(&cluster) - before <= 2, "{} changes in 30 s", term(&cluster) - before);
    });
}

//! The cluster's time: what moves it, and what does not.

use std::time::Duration;

use conclave_raft::{ProposeError, ReadError, Readiness};

use crate::support::{Cluster, HEARTBEAT, put, simulate};

/// Long against every timeout, short enough to be simulated beat by beat.
const WHILE: Duration = Duration::from_secs(120);
const HOUR: Duration = Duration::from_secs(3_600);
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// A message is one millisecond under way, and a heartbeat may be missing at the end.
const LAG_MS_MAX: u64 = 5;

/// The leader's time, as a read on `id` learns it, and the true time then.
async fn times(cluster: &Cluster, id: u64) -> (u64, u64) {
    let point = cluster.raft(id).read_barrier().await.expect("a read point");
    (point.leader_ms, cluster.ports.clock.wall_ms())
}

async fn assert_true_time(cluster: &Cluster, id: u64) {
    let (cluster_ms, true_ms) = times(cluster, id).await;
    assert!(cluster_ms <= true_ms, "{cluster_ms} is after {true_ms}");
    assert!(cluster_ms + LAG_MS_MAX >= true_ms, "{cluster_ms} is long before {true_ms}");
}

async fn stop_all(cluster: &mut Cluster) {
    for id in 1..=3 {
        cluster.stop(id).await;
    }
}

async fn start_all(cluster: &mut Cluster) {
    for id in 1..=3 {
        cluster.start(id).await.set_readiness(Readiness::Ready);
    }
}

#[test]
fn a_wall_clock_that_jumps_moves_nothing() {
    simulate(200, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        for skew_ms in [DAY_MS, -DAY_MS, 40 * DAY_MS] {
            cluster.skew(leader, skew_ms);
            cluster.sleep(Duration::from_secs(30)).await;
            assert_true_time(&cluster, leader).await;
            assert_true_time(&cluster, 1 + leader % 3).await;
            cluster.write("a", "1").await;
            let stamped_ms = cluster.nodes[&leader].state.view().stamped_ms();
            assert!(stamped_ms.abs_diff(cluster.ports.clock.wall_ms()) <= 100);
        }
    });
}

#[test]
fn a_new_leader_goes_on_with_the_time_it_heard() {
    for seed in 210..216 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            for id in 1..=3 {
                cluster.skew(id, DAY_MS * i64::try_from(id).expect("small"));
            }
            cluster.sleep(WHILE).await;
            let leader = cluster.leader().await;
            let (before, _) = times(&cluster, leader).await;
            cluster.stop(leader).await;
            let successor = cluster.leader().await;
            let (after, _) = times(&cluster, successor).await;
            assert!(after >= before);
            assert_true_time(&cluster, successor).await;
        });
    }
}

/// What it replays from its own log is minutes old; the leader tells it what time it is.
#[test]
fn a_node_that_was_away_does_not_turn_time_back() {
    for seed in 220..226 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            cluster.write("a", "1").await;
            let leader = cluster.leader().await;
            let away = 1 + leader % 3;
            cluster.stop(away).await;
            cluster.sleep(WHILE).await;
            cluster.skew(away, -DAY_MS);
            cluster.start(away).await.set_readiness(Readiness::Ready);
            cluster.sleep(HEARTBEAT * 3).await;
            // The only one that could lead instead stays sealed.
            cluster.raft(1 + away % 3).set_readiness(Readiness::Sealed);
            cluster.stop(leader).await;
            assert_eq!(cluster.leader().await, away);
            assert_true_time(&cluster, away).await;
            cluster.write("a", "2").await;
        });
    }
}

#[test]
fn a_leader_that_heard_no_time_asks_who_did() {
    for seed in 230..250 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let leader = cluster.leader().await;
            let (a, b) = (1 + leader % 3, 1 + (leader + 1) % 3);
            cluster.stop(leader).await;
            cluster.stop(a).await;
            cluster.skew(leader, DAY_MS);
            cluster.skew(a, DAY_MS);
            for id in [leader, a] {
                cluster.start(id).await.set_readiness(Readiness::Ready);
            }
            // It keeps the time and lets others lead.
            cluster.raft(b).set_readiness(Readiness::Sealed);
            let successor = cluster.leader().await;
            assert_true_time(&cluster, successor).await;
            cluster.write("a", "1").await;
        });
    }
}

#[test]
fn after_a_mass_restart_the_majority_of_clocks_decides() {
    simulate(250, async |mut cluster| {
        cluster.form(3).await;
        cluster.write("a", "1").await;
        let (before, _) = times(&cluster, 1).await;
        stop_all(&mut cluster).await;
        cluster.sleep(HOUR).await;
        cluster.skew(2, DAY_MS);
        start_all(&mut cluster).await;
        cluster.leader().await;
        let (after, _) = times(&cluster, 3).await;
        assert!(after >= before + HOUR_MS, "the hour counts");
        assert_true_time(&cluster, 3).await;
        cluster.write("a", "2").await;
    });
}

#[test]
fn clocks_set_back_do_not_take_back_what_was_stamped() {
    simulate(251, async |mut cluster| {
        cluster.form(3).await;
        cluster.write("a", "1").await;
        let stamped_ms = cluster.nodes[&1].state.view().stamped_ms();
        stop_all(&mut cluster).await;
        for id in 1..=3 {
            cluster.skew(id, -DAY_MS);
        }
        start_all(&mut cluster).await;
        cluster.leader().await;
        let (after, _) = times(&cluster, 1).await;
        assert!(after >= stamped_ms && after < stamped_ms + 10_000);
    });
}

#[test]
fn without_clocks_that_agree_nothing_is_written() {
    simulate(252, async |mut cluster| {
        cluster.form(3).await;
        cluster.write("a", "1").await;
        stop_all(&mut cluster).await;
        for (id, skew_ms) in [(1, 0), (2, 10_000), (3, -10_000)] {
            cluster.skew(id, skew_ms);
        }
        start_all(&mut cluster).await;
        let leader = cluster.raft(cluster.leader().await);
        let last = leader.status().last_log_index;
        for _ in 0..5 {
            let refused = leader.propose(put("a", "2")).await;
            assert!(matches!(refused, Err(ProposeError::NotLeader)), "{refused:?}");
            assert!(matches!(leader.read_barrier().await, Err(ReadError::Unavailable)));
        }
        assert_eq!(leader.status().last_log_index, last, "nothing was appended");

        // Somebody sets one clock; the cluster goes on by itself.
        cluster.skew(2, 4_000);
        cluster.sleep(HEARTBEAT).await;
        leader.propose(put("a", "2")).await.expect("two of three agree");
        assert_eq!(cluster.read(3, "a").await.as_deref(), Some("2"));
    });
}

#[test]
fn a_single_voter_has_its_own_clock() {
    simulate(253, async |mut cluster| {
        cluster.skew(1, -DAY_MS);
        cluster.form(1).await;
        let (cluster_ms, true_ms) = times(&cluster, 1).await;
        assert!((cluster_ms + 24 * HOUR_MS).abs_diff(true_ms) <= 100);
        cluster.stop(1).await;
        cluster.skew(1, 0);
        cluster.start(1).await.set_readiness(Readiness::Ready);
        cluster.leader().await;
        assert_true_time(&cluster, 1).await;
    });
}

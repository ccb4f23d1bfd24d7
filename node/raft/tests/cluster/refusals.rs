//! A peer that refuses is asked again, but not all the time; and a restart takes no longer than
//! it must.

use std::time::Duration;

use conclave_raft::Readiness;

use crate::support::{Cluster, ELECTION_MAX, HEARTBEAT, simulate};

#[test]
fn a_peer_that_refuses_is_left_alone_for_a_while() {
    simulate(400, async |mut cluster| {
        cluster.form(3).await;
        let peer = 1 + cluster.leader().await % 3;
        // Its process ends and starts again; until Raft runs in it, it refuses.
        cluster.router.refuse_appends(peer);
        cluster.stop(peer).await;
        cluster.start(peer).await;
        let (streams, heartbeats) = cluster.router.append_calls(peer);
        let mut before = streams;
        cluster.sleep(Duration::from_secs(1)).await;
        for second in 0..10 {
            cluster.write("a", "2").await;
            cluster.sleep(Duration::from_secs(1)).await;
            let (streams, _) = cluster.router.append_calls(peer);
            let tries = streams - before;
            assert!((1..=6).contains(&tries), "{tries} tries in second {second}");
            before = streams;
        }
        let (_, after) = cluster.router.append_calls(peer);
        assert!(after - heartbeats <= 120, "{} heartbeats in ten seconds", after - heartbeats);

        cluster.router.accept_appends(peer);
        let healed = cluster.ports.clock.monotonic();
        let last = cluster.raft(cluster.leader().await).status().last_log_index;
        cluster
            .eventually("the peer to catch up", |cluster| {
                (cluster.raft(peer).status().applied_index >= last).then_some(())
            })
            .await;
        let took = cluster.ports.clock.monotonic() - healed;
        assert!(took <= ELECTION_MAX + HEARTBEAT * 2, "it took {took:?}");
    });
}

#[test]
fn a_dead_peer_is_left_alone_for_a_while() {
    simulate(401, async |mut cluster| {
        cluster.form(3).await;
        let peer = 1 + cluster.leader().await % 3;
        cluster.stop(peer).await;
        let (before, _) = cluster.router.append_calls(peer);
        for _ in 0..10 {
            cluster.write("a", "1").await;
            cluster.sleep(Duration::from_secs(1)).await;
        }
        let (after, _) = cluster.router.append_calls(peer);
        assert!((5..=30).contains(&(after - before)), "{} tries", after - before);
    });
}

async fn restarted_after(mut cluster: Cluster, unseal_after: Duration) -> Duration {
    cluster.form(3).await;
    cluster.write("a", "1").await;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.sleep(unseal_after).await;
    for id in 1..=3 {
        cluster.raft(id).set_readiness(Readiness::Ready);
    }
    let unsealed = cluster.ports.clock.monotonic();
    cluster.write("a", "2").await;
    cluster.ports.clock.monotonic() - unsealed
}

/// All at once, each with a static seal: one election timeout, not the patience of a sealed node.
#[test]
fn nodes_that_unseal_by_themselves_elect_within_one_timeout() {
    let mut took = Vec::new();
    for unseal_after in [0, 50, 300, 900] {
        for seed in 410..430 {
            let unseal_after = Duration::from_millis(unseal_after);
            took.push(simulate(seed, async move |cluster| {
                restarted_after(cluster, unseal_after).await
            }));
        }
    }
    took.sort();
    let (median, last) = (took[took.len() / 2], took[took.len() - 1]);
    println!("from unsealing to the first write: median {median:?}, longest {last:?}");
    assert!(last <= ELECTION_MAX + HEARTBEAT, "longest {last:?}");
}

//! Snapshots that are received, cut short, lost and fetched from a peer.

use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::snapshot_part::Part;
use conclave_raft::{PeerError, Readiness};
use conclave_store::disk::{Disk, MemoryDisk, Open};
use futures::{FutureExt, StreamExt, stream};

use crate::support::{CLUSTER_ID, Cluster, HEARTBEAT, simulate};
use crate::write_many;

fn start_of(from: u64, term: u64) -> v1::SnapshotPart {
    let header = v1::SnapshotHeader {
        cluster_id: CLUSTER_ID.into(),
        last_log_id: Some(v1::LogId { term: 1, leader_id: 0, index: 5_000 }),
        format: 1,
        ..v1::SnapshotHeader::default()
    };
    let vote = v1::Vote { term, node_id: from, committed: true };
    let start = v1::SnapshotStart { from, vote: Some(vote), header: Some(header) };
    v1::SnapshotPart { part: Some(Part::Start(start)) }
}

fn drafts(disk: &MemoryDisk) -> usize {
    let names = disk.list("snapshots").expect("the directory");
    names.iter().filter(|name| name.ends_with(".tmp")).count()
}

#[test]
fn a_newer_leaders_snapshot_replaces_the_one_that_is_being_received() {
    simulate(950, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let (id, other) = (1 + leader % 3, 1 + (leader + 1) % 3);
        let (node, disk) = (cluster.raft(id), cluster.disk(id));
        let sends =
            |from, term| stream::iter([start_of(from, term)]).chain(stream::pending()).boxed();
        let mut first = node.on_snapshot(sends(leader, 50));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(drafts(&disk), 1);

        let older = node.on_snapshot(sends(other, 49)).await;
        assert!(matches!(older, Err(PeerError::Refused { .. })), "{older:?}");
        let mut second = node.on_snapshot(sends(other, 60));
        assert!(futures::poll!(&mut second).is_pending());
        let given_up = first.await;
        assert!(matches!(given_up, Err(PeerError::Refused { .. })), "{given_up:?}");
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(drafts(&disk), 1, "the first left nothing behind");
        drop(second);
        assert_eq!(drafts(&disk), 0);

        // A sender that falls silent, and one whose chunk does not fit.
        let silent = node.on_snapshot(sends(other, 61)).await;
        assert!(matches!(silent, Err(PeerError::Refused { .. })), "{silent:?}");
        let chunk = v1::SnapshotChunk { number: 7, ..v1::SnapshotChunk::default() };
        let chunk = v1::SnapshotPart { part: Some(Part::Chunk(chunk)) };
        let wrong = node.on_snapshot(stream::iter([start_of(other, 62), chunk]).boxed()).await;
        assert!(matches!(wrong, Err(PeerError::Refused { .. })), "{wrong:?}");
        let short = node.on_snapshot(stream::iter([start_of(other, 63)]).boxed()).await;
        assert!(matches!(short, Err(PeerError::Refused { .. })), "{short:?}");
        assert_eq!(drafts(&disk), 0);
        cluster.write("a", "1").await;
    });
}

/// Flips a byte in the middle of every snapshot of a node.
pub(crate) fn damage(disk: &MemoryDisk) -> usize {
    damage_newest(disk, usize::MAX)
}

/// The same, of so many of the newest ones.
fn damage_newest(disk: &MemoryDisk, most: usize) -> usize {
    let mut damaged = 0;
    let mut names = disk.list("snapshots").expect("the directory");
    names.sort_unstable();
    for name in names.into_iter().rev().take(most) {
        let path = format!("snapshots/{name}");
        let file = disk.open(&path, Open::Existing).expect("it is there");
        let middle = file.len().expect("a length") / 2;
        let mut byte = [0];
        file.read_at(middle, &mut byte).expect("it reads");
        file.write_at(middle, &[byte[0] ^ 1]).expect("it is written");
        file.sync().expect("it is synced");
        damaged += 1;
    }
    damaged
}

/// Its state is gone (in these tests it always is), its snapshots are damaged, its log begins later.
async fn without_a_snapshot(cluster: &mut Cluster) -> (u64, v1::Vote) {
    (cluster.snapshot_entries, cluster.keep_entries) = (50, 10);
    cluster.form(3).await;
    write_many(cluster, 0..200).await;
    cluster.sleep(Duration::from_secs(5)).await;
    let id = 1 + cluster.leader().await % 3;
    let vote = cluster.nodes[&id].log.vote().expect("a vote");
    cluster.stop(id).await;
    assert!(damage(&cluster.disk(id)) > 0, "it had a snapshot");
    (id, vote)
}

#[test]
fn a_node_whose_snapshots_are_damaged_fetches_one_and_keeps_its_promises() {
    for seed in 960..966 {
        simulate(seed, async |mut cluster| {
            let (id, vote) = without_a_snapshot(&mut cluster).await;
            let opened = cluster.open(id);
            let log = opened.parts.log.clone();
            let before = log.state();
            assert!(before.purged.is_some(), "the log was cut");
            opened.greeter.greet().await.expect("nothing is missing that a peer saw");
            let raft = cluster.start_opened(opened).await.expect("a peer helps");
            let index = |state: conclave_store::log::LogState| state.last.map(|last| last.index);
            assert!(index(log.state()) >= index(before), "what was acknowledged is still there");
            assert!(log.vote().expect("a vote").term >= vote.term);
            raft.set_readiness(Readiness::Ready);
            cluster.write("a", "1").await;
            assert_eq!(cluster.read(id, "a").await.as_deref(), Some("1"));
            assert_eq!(cluster.read(id, "k0").await.as_deref(), Some("0"));
            let index = cluster.raft(id).status().applied_index;
            cluster
                .eventually("equal states", |cluster| {
                    let at = |id| cluster.nodes[&id].state.applied();
                    let same = (1..=3).all(|other| at(other).state_hash == at(id).state_hash);
                    (same && at(id).log_id?.index >= index).then_some(())
                })
                .await;
        });
    }
}

#[test]
fn without_a_peer_that_can_help_it_waits_and_takes_no_part() {
    simulate(970, async |mut cluster| {
        let (id, _) = without_a_snapshot(&mut cluster).await;
        cluster.router.isolate(id, (1..=3).filter(|other| *other != id));
        let opened = cluster.open(id);
        let before = opened.parts.log.state();
        let log = opened.parts.log.clone();
        let clock = cluster.ports.clock.clone();
        {
            let starting = cluster.start_opened(opened);
            let mut starting = std::pin::pin!(starting.fuse());
            let mut waiting = clock.sleep(Duration::from_secs(60)).fuse();
            futures::select_biased! {
                _ = starting => panic!("nobody could have helped"),
                () = waiting => {}
            }
        }
        assert_eq!(log.state(), before, "nothing was given up");
        log.close();
        cluster.router.detach(id);
        cluster.router.heal();
        cluster.start(id).await.set_readiness(Readiness::Ready);
        cluster.write("a", "1").await;
        assert_eq!(cluster.read(id, "k0").await.as_deref(), Some("0"));
    });
}

/// Peers build large snapshots seldom, and on an idle cluster never: whoever waits for one is owed
/// it.
#[test]
fn a_snapshot_that_a_peer_waits_for_is_owed_where_none_reaches_and_it_can_be_built() {
    simulate(972, async |mut cluster| {
        cluster.form(3).await;
        write_many(&cluster, 0..20).await;
        cluster.sleep(Duration::from_secs(2)).await;
        let id = 1 + cluster.leader().await % 3;
        cluster.stop(id).await;
        let opened = cluster.open(id);
        let greeter = opened.greeter.clone();
        let raft = cluster.start_opened(opened).await.expect("the node starts");
        let leader = cluster.raft(cluster.leader().await);
        let applied = leader.status().applied_index;
        cluster
            .eventually("the log", |_| (raft.status().applied_index >= applied).then_some(()))
            .await;
        let request = |reach_index| v1::FetchSnapshotRequest { from: 9, reach_index };
        assert!(greeter.owes_snapshot(&request(applied)), "it has none");
        let beyond = raft.status().last_log_index + 100;
        assert!(!greeter.owes_snapshot(&request(beyond)), "it has not got there itself");
        raft.trigger_snapshot().await;
        cluster
            .eventually("a snapshot", |_| {
                greeter.on_fetch_snapshot(&request(applied)).ok().map(drop)
            })
            .await;
        assert!(!greeter.owes_snapshot(&request(applied)), "there is one");
    });
}

/// A whole log needs no snapshot, whatever became of the snapshots.
#[test]
fn a_damaged_snapshot_beside_a_whole_log_does_no_harm() {
    simulate(971, async |mut cluster| {
        (cluster.snapshot_entries, cluster.keep_entries) = (50, 1_000);
        cluster.form(3).await;
        write_many(&cluster, 0..200).await;
        cluster.sleep(Duration::from_secs(5)).await;
        for id in 1..=3 {
            cluster.stop(id).await;
            assert!(damage(&cluster.disk(id)) > 0, "it had a snapshot");
        }
        for id in 1..=3 {
            cluster.start(id).await.set_readiness(Readiness::Ready);
        }
        cluster.sleep(HEARTBEAT).await;
        cluster.write("a", "1").await;
        assert_eq!(cluster.read(2, "k0").await.as_deref(), Some("0"));
    });
}

/// The files turned bad after they were verified, so the leader finds out only as it sends one. What
/// it sends next is new: an older one would end before its log begins.
#[test]
fn a_leader_whose_stored_snapshots_turn_out_bad_builds_another() {
    for (seed, most) in [(980, usize::MAX), (981, 1)] {
        simulate(seed, async |mut cluster| {
            (cluster.snapshot_entries, cluster.keep_entries) = (50, 10);
            cluster.form(3).await;
            let leader = cluster.leader().await;
            let lagging = 1 + leader % 3;
            cluster.stop(lagging).await;
            write_many(&cluster, 0..150).await;
            cluster.sleep(Duration::from_secs(2)).await;
            write_many(&cluster, 150..300).await;
            cluster.sleep(Duration::from_secs(2)).await;
            assert!(damage_newest(&cluster.disk(leader), most) > 0, "it had a snapshot");
            cluster.start(lagging).await.set_readiness(Readiness::Ready);
            assert_eq!(cluster.raft(leader).status().fatal, None);
            cluster
                .eventually("the log's end", |cluster| {
                    let applied = |id| cluster.raft(id).status().applied_index;
                    (applied(lagging) >= applied(leader)).then_some(())
                })
                .await;
            assert_eq!(cluster.raft(leader).status().fatal, None);
            assert_eq!(cluster.leader().await, leader);
            assert_eq!(cluster.read(lagging, "k0").await.as_deref(), Some("0"));
            let calls = cluster.router.snapshot_calls();
            assert!((2..=20).contains(&calls), "{calls} snapshots were sent");
            let names = cluster.disk(leader).list("snapshots").expect("the directory");
            assert!(names.iter().any(|name| name.ends_with(".snapshot")), "{names:?}");
        });
    }
}

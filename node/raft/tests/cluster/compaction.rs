//! How far a log is cut while a snapshot is on its way, and when a snapshot is built.

use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::cluster_change::Kind;
use conclave_raft::{AddMember, Readiness};
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::State;

use crate::snapshots::damage;
use crate::support::{Cluster, ELECTION_MAX, Opened, member, put, simulate};
use crate::{durable, write_many};

/// A hundred writes a second or so, until `done`, at most for three minutes.
async fn write_until(cluster: &Cluster, done: impl Fn() -> bool) -> bool {
    let leader = cluster.raft(cluster.leader().await);
    for n in 0..18_000 {
        if done() {
            return true;
        }
        leader.propose(put("busy", &n.to_string())).await.expect("the write commits");
        cluster.sleep(Duration::from_millis(6)).await;
    }
    false
}

fn purged(cluster: &Cluster, id: u64) -> u64 {
    cluster.nodes[&id].log.state().purged.map_or(0, |purged| purged.index)
}

/// A leader of three that has cut its log, and a fourth node that needs its slow snapshot.
async fn with_slow_joiner(cluster: &mut Cluster) -> u64 {
    (cluster.snapshot_entries, cluster.keep_entries) = (50, 10);
    cluster.form(3).await;
    write_many(cluster, 0..200).await;
    cluster.sleep(Duration::from_secs(2)).await;
    let leader = cluster.leader().await;
    assert!(purged(cluster, leader) > 50, "the log was cut");
    cluster.router.slow_snapshots(Duration::from_secs(5));
    cluster.start(4).await.set_readiness(Readiness::Ready);
    let add = AddMember { member: member(4), voter: false };
    let adding = cluster.raft(leader);
    // It answers once the learner has caught up, or after a while.
    let _ = cluster.ports.within(ELECTION_MAX, adding.add_member(add)).await;
    leader
}

#[test]
fn a_joiner_catches_up_under_writes_however_slowly_its_snapshot_comes() {
    for seed in 1_000..1_003 {
        simulate(seed, async |mut cluster| {
            let leader = with_slow_joiner(&mut cluster).await;
            let (first, joiner) = (cluster.raft(leader), cluster.raft(4));
            let caught_up = || joiner.status().applied_index + 20 > first.status().applied_index;
            assert!(!caught_up());
            assert!(write_until(&cluster, caught_up).await, "{:?}", joiner.status());
            assert_eq!(cluster.router.snapshot_calls(), 1);
            // What was held for it is cut now.
            let (log, before) = (cluster.nodes[&leader].log.clone(), purged(&cluster, leader));
            let cut = || log.state().purged.is_some_and(|purged| purged.index > before + 200);
            assert!(write_until(&cluster, cut).await, "the log is never cut again");
            assert_eq!(cluster.router.snapshot_calls(), 1);
        });
    }
}

#[test]
fn nothing_is_held_for_a_joiner_that_is_gone() {
    simulate(1_010, async |mut cluster| {
        let leader = with_slow_joiner(&mut cluster).await;
        let log = cluster.nodes[&leader].log.clone();
        cluster.sleep(Duration::from_secs(3)).await;
        let before = purged(&cluster, leader);
        cluster.stop(4).await;
        let cut = || log.state().purged.is_some_and(|purged| purged.index > before + 500);
        assert!(write_until(&cluster, cut).await, "it is held for ever");
    });
}

fn change(kind: Kind) -> v1::Command {
    v1::Command { cluster: Some(v1::ClusterChange { kind: Some(kind) }), ..v1::Command::default() }
}

/// Begins a restore that goes no further.
async fn begin_restore(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let header = cluster.nodes[&leader].state.export().expect("an export").header().clone();
    let restore_id = vec![7; 16].into();
    let begin = Kind::RestoreBegin(v1::RestoreBegin { restore_id, header: Some(header) });
    cluster.raft(leader).propose(change(begin)).await.expect("it begins");
}

async fn abort_restore(cluster: &Cluster) {
    let abort = Kind::RestoreAbort(v1::RestoreAbort { restore_id: vec![7; 16].into() });
    let leader = cluster.raft(cluster.leader().await);
    leader.propose(change(abort)).await.expect("it ends");
}

fn newest_snapshot(cluster: &mut Cluster, id: u64) -> u64 {
    let store = SnapshotStore::open(cluster.disk(id)).expect("snapshots open");
    let newest = store.latest().expect("a good disk").expect("a snapshot");
    newest.header().last_log_id.map_or(0, |id| id.index)
}

async fn all_equal(cluster: &Cluster) {
    cluster
        .eventually("equal states", |cluster| {
            let mut applied = cluster.nodes.values().map(|node| node.state.applied());
            let first = applied.next()?;
            applied
                .all(|one| one.log_id == first.log_id && one.state_hash == first.state_hash)
                .then_some(())
        })
        .await;
}

#[test]
fn no_snapshot_is_built_while_a_restore_is_staged() {
    simulate(1_020, async |mut cluster| {
        (cluster.snapshot_entries, cluster.keep_entries) = (50, 10);
        cluster.form(3).await;
        write_many(&cluster, 0..120).await;
        cluster.sleep(Duration::from_secs(2)).await;
        begin_restore(&cluster).await;
        let before: Vec<u64> = (1..=3).map(|id| newest_snapshot(&mut cluster, id)).collect();
        write_many(&cluster, 120..320).await;
        // Asked for by hand, it is put off as well.
        cluster.raft(1).trigger_snapshot().await;
        cluster.sleep(Duration::from_secs(5)).await;
        assert!(cluster.nodes.values().all(|node| node.state.is_restoring()));
        let after: Vec<u64> = (1..=3).map(|id| newest_snapshot(&mut cluster, id)).collect();
        assert_eq!(after, before);

        abort_restore(&cluster).await;
        cluster.sleep(Duration::from_secs(2)).await;
        for (id, before) in (1..=3).zip(before) {
            assert!(newest_snapshot(&mut cluster, id) >= before + 200, "node {id}");
        }
        all_equal(&cluster).await;
    });
}

/// Stops a follower in the middle of a restore, and lets another node lead, which knows nothing of
/// what the follower had.
async fn stopped_while_restoring(cluster: &mut Cluster) -> (u64, State) {
    (cluster.snapshot_entries, cluster.keep_entries) = (50, 10);
    cluster.form(3).await;
    write_many(cluster, 0..200).await;
    cluster.sleep(Duration::from_secs(2)).await;
    begin_restore(cluster).await;
    write_many(cluster, 200..210).await;
    all_equal(cluster).await;
    let leader = cluster.leader().await;
    let id = 1 + leader % 3;
    let state = cluster.nodes[&id].state.clone();
    assert!(state.is_restoring());
    cluster.stop(id).await;
    cluster.raft(leader).transfer_leadership().await.expect("the third takes over");
    (id, state)
}

fn open_with(cluster: &mut Cluster, id: u64, state: State) -> Opened {
    let mut opened = cluster.open(id);
    opened.parts.state = state;
    opened
}

/// Ends a stopped node's log some entries before what its state applied.
async fn lose_the_tail(cluster: &mut Cluster, id: u64, state: &State) {
    let log = cluster.open_log(id);
    let last = state.applied_id().expect("something was applied").index - 4;
    let entries = log.read(last..last + 1, 1).expect("the log reads");
    let (done, stored) = durable();
    log.truncate_after(entries[0].id, done);
    stored.await.expect("the writer ran").expect("it is on disk");
    log.close();
}

#[test]
fn a_restoring_state_that_is_ahead_of_its_log_steps_back_to_a_snapshot() {
    for (seed, damaged) in [(1_030, false), (1_031, true)] {
        simulate(seed, async |mut cluster| {
            let (id, state) = stopped_while_restoring(&mut cluster).await;
            lose_the_tail(&mut cluster, id, &state).await;
            if damaged {
                assert!(damage(&cluster.disk(id)) > 0, "it had a snapshot");
            }
            let opened = open_with(&mut cluster, id, state);
            let before = opened.parts.log.state();
            cluster.start_opened(opened).await.expect("it starts").set_readiness(Readiness::Ready);
            let after = cluster.nodes[&id].log.state();
            assert_eq!(after.purged, before.purged, "the log does not begin anew");
            cluster.write("a", "1").await;
            all_equal(&cluster).await;
            assert!(cluster.nodes[&id].state.is_restoring(), "the log tells it again");
            abort_restore(&cluster).await;
            all_equal(&cluster).await;
            assert!(!cluster.nodes[&id].state.is_restoring());
        });
    }
}

/// Behind a log that was cut there has to be a snapshot, and one of this state would lack what is
/// staged: a peer's takes its place.
#[test]
fn a_restoring_node_whose_snapshots_are_damaged_fetches_one() {
    simulate(1_040, async |mut cluster| {
        let (id, state) = stopped_while_restoring(&mut cluster).await;
        assert!(damage(&cluster.disk(id)) > 0, "it had a snapshot");
        let opened = open_with(&mut cluster, id, state);
        let before = opened.parts.log.state();
        cluster.start_opened(opened).await.expect("it starts").set_readiness(Readiness::Ready);
        let reach = before.purged.expect("the log was cut").index;
        assert!(newest_snapshot(&mut cluster, id) >= reach);
        let last = |state: conclave_store::log::LogState| state.last.map(|id| id.index);
        let now = cluster.nodes[&id].log.state();
        assert!(last(now) >= last(before), "its log is whole");
        cluster.write("a", "1").await;
        all_equal(&cluster).await;
        assert!(cluster.nodes[&id].state.is_restoring());
    });
}

//! Before a node takes part: honest nodes always may, one whose disk went back in time never does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::entry::Payload;
use conclave_raft::{
    AddMember, Greeter, PeerError, PeerTransport, ProposeError, RaftParts, Readiness, StaysOut,
    Target,
};
use conclave_store::identity::Out;
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::support::{Cluster, ELECTION_MAX, HEARTBEAT, member, open_state, simulate};
use crate::{durable, write_many};

/// What a peer says when it is greeted, call by call; the last answer is for ever.
type Script = Vec<Option<v1::GreetReply>>;

/// A transport that knows greetings only.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<BTreeMap<u64, Script>>>,
    calls: Arc<Mutex<Vec<(u64, v1::GreetRequest)>>>,
}

fn unreachable<T: Send + 'static>(target: &Target) -> BoxFuture<'static, Result<T, PeerError>> {
    let (node_id, reason) = (target.node_id, "it is down".to_owned());
    std::future::ready(Err(PeerError::Unreachable { node_id, reason })).boxed()
}

impl PeerTransport for Scripted {
    fn append(
        &self,
        target: &Target,
        _: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<v1::AppendReply, PeerError>>, PeerError>>
    {
        unreachable(target)
    }

    fn vote(
        &self,
        target: &Target,
        _: v1::VoteRequest,
    ) -> BoxFuture<'static, Result<v1::VoteReply, PeerError>> {
        unreachable(target)
    }

    fn snapshot(
        &self,
        target: &Target,
        _: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'static, Result<v1::SnapshotReply, PeerError>> {
        unreachable(target)
    }

    fn transfer(
        &self,
        target: &Target,
        _: v1::TransferRequest,
    ) -> BoxFuture<'static, Result<v1::TransferReply, PeerError>> {
        unreachable(target)
    }

    fn read_index(
        &self,
        target: &Target,
        _: v1::ReadIndexRequest,
    ) -> BoxFuture<'static, Result<v1::ReadIndexReply, PeerError>> {
        unreachable(target)
    }

    fn greet(
        &self,
        target: &Target,
        request: v1::GreetRequest,
    ) -> BoxFuture<'static, Result<v1::GreetReply, PeerError>> {
        self.calls.lock().expect("one thread").push((target.node_id, request));
        let mut answers = self.answers.lock().expect("one thread");
        let script = answers.entry(target.node_id).or_default();
        let first = script.first().copied().flatten();
        if script.len() > 1 {
            script.remove(0);
        }
        match first {
            Some(reply) => std::future::ready(Ok(reply)).boxed(),
            None => unreachable(target),
        }
    }

    fn status(
        &self,
        target: &Target,
        _: v1::StatusRequest,
    ) -> BoxFuture<'static, Result<v1::StatusReply, PeerError>> {
        unreachable(target)
    }
}

fn id(term: u64, index: u64) -> v1::LogId {
    v1::LogId { term, leader_id: 0, index }
}

fn fine() -> v1::GreetReply {
    v1::GreetReply { seen: None, epoch: 1, removed: false }
}

fn saw(boot_counter: u64, vote_term: u64, durable: Option<v1::LogId>) -> v1::GreetReply {
    let seen = v1::Seen { node_id: 1, boot_counter, vote_term, durable };
    v1::GreetReply { seen: Some(seen), ..fine() }
}

/// Node 1 in its third start, with a vote in term 5 and entries 0 to 9 of term 4 and the given
/// voters and learners.
async fn greeter(
    cluster: &mut Cluster,
    configs: &[&[u64]],
    learners: &[u64],
    peers: &Scripted,
) -> Greeter {
    let log = cluster.open_log(1);
    let voters = configs.iter().flat_map(|voters| voters.iter());
    let mut ids: Vec<u64> = voters.chain(learners).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let membership = v1::Membership {
        configs: configs.iter().map(|ids| v1::VoterSet { node_ids: ids.to_vec() }).collect(),
        members: ids.into_iter().map(member).collect(),
    };
    let entries = (0..10).map(|index| {
        let blank = Payload::Blank(v1::Blank {});
        let payload = if index == 3 { Payload::Membership(membership.clone()) } else { blank };
        v1::Entry { id: Some(id(4, index)), payload: Some(payload) }
    });
    log.append(entries.collect(), Box::new(drop));
    let (done, stored) = durable();
    log.save_vote(v1::Vote { term: 5, node_id: 2, committed: false }, done);
    stored.await.expect("the writer ran").expect("it is on disk");
    let parts = RaftParts {
        seen: SeenStore::open(cluster.disk(1)).expect("a good disk"),
        boot_counter: 3,
        joined: v1::Membership::default(),
        log,
        state: open_state(),
        snapshots: SnapshotStore::open(cluster.disk(1)).expect("snapshots open"),
        transport: Arc::new(peers.clone()),
        ports: cluster.ports.clone(),
    };
    Greeter::new(&cluster.config(1), &parts)
}

/// Greets peers 2 and 3 that answer by these scripts; none where that took over a minute.
fn greeted(two: Script, three: Script) -> Option<Result<(), StaysOut>> {
    simulate(1, async |mut cluster| {
        let peers = Scripted::default();
        *peers.answers.lock().expect("one thread") = BTreeMap::from([(2, two), (3, three)]);
        let greeter = greeter(&mut cluster, &[&[1, 2, 3]], &[], &peers).await;
        cluster.ports.within(Duration::from_secs(60), greeter.greet()).await.ok()
    })
}

fn out(result: Option<Result<(), StaysOut>>) -> Out {
    result.expect("an end").expect_err("it stays out").why
}

#[test]
fn a_quorum_lets_a_node_in() {
    assert!(matches!(greeted(vec![Some(fine())], vec![None]), Some(Ok(()))));
    let later = vec![None, None, None, None, None, Some(fine())];
    assert!(matches!(greeted(later, vec![None]), Some(Ok(()))));
    assert!(greeted(vec![None], vec![None]).is_none(), "it waits for as long as nobody answers");
}

#[test]
fn a_peer_that_saw_no_more_than_there_is_lets_a_node_in() {
    for reply in [saw(3, 5, Some(id(4, 9))), saw(2, 4, Some(id(4, 1))), saw(3, 5, None)] {
        assert!(matches!(greeted(vec![Some(reply)], vec![None]), Some(Ok(()))));
    }
}

#[test]
fn a_peer_that_saw_more_keeps_a_node_out() {
    let more = [
        saw(4, 0, None),
        saw(0, 6, None),
        saw(0, 0, Some(id(4, 10))),
        saw(0, 0, Some(id(5, 9))),
        saw(0, 0, Some(id(3, 8))),
    ];
    for reply in more {
        let result = greeted(vec![None], vec![None, Some(reply)]);
        assert_eq!(out(result), Out::RolledBack, "{reply:?}");
    }
    // The one that is as quick as the others is heard, too.
    let both = greeted(vec![Some(fine())], vec![Some(saw(4, 0, None))]);
    assert_eq!(out(both), Out::RolledBack);
}

#[test]
fn a_node_that_was_removed_is_told() {
    let removed = v1::GreetReply { removed: true, epoch: 2, ..fine() };
    assert_eq!(out(greeted(vec![Some(removed)], vec![None])), Out::Fenced);
}

#[test]
fn what_a_node_shows_is_what_is_on_its_disk() {
    simulate(2, async |mut cluster| {
        let peers = Scripted::default();
        let answers = BTreeMap::from([(2, vec![Some(fine())]), (3, vec![Some(fine())])]);
        *peers.answers.lock().expect("one thread") = answers;
        let greeter = greeter(&mut cluster, &[&[1, 2, 3]], &[], &peers).await;
        let began = cluster.ports.clock.monotonic();
        greeter.greet().await.expect("nothing is missing");
        assert!(cluster.ports.clock.monotonic() - began < HEARTBEAT, "nobody is waited for");
        let calls = peers.calls.lock().expect("one thread");
        let own = v1::Seen { node_id: 1, boot_counter: 3, vote_term: 5, durable: Some(id(4, 9)) };
        assert_eq!(calls.len(), 2);
        assert!(calls.iter().all(|(_, request)| request.own == Some(own) && request.epoch == 1));
    });
}

/// By its own disk it does not vote; that may be what it lost.
#[test]
fn a_learner_waits_for_a_quorum_of_the_voters() {
    for (three, let_in) in [(None, false), (Some(fine()), true)] {
        simulate(3, async |mut cluster| {
            let peers = Scripted::default();
            *peers.answers.lock().expect("one thread") =
                BTreeMap::from([(2, vec![Some(fine())]), (3, vec![three])]);
            let greeter = greeter(&mut cluster, &[&[2, 3]], &[1], &peers).await;
            let ports = cluster.ports.clone();
            let waited = ports.within(HEARTBEAT * 20, greeter.greet()).await;
            assert_eq!(waited.is_ok_and(|answer| answer.is_ok()), let_in);
        });
    }
}

#[test]
fn single_voters_wait_for_nobody() {
    let cases: [(&[u64], &[u64]); 2] = [(&[1], &[]), (&[1], &[2])];
    for (configs, learners) in cases {
        simulate(3, async |mut cluster| {
            let peers = Scripted::default();
            *peers.answers.lock().expect("one thread") =
                BTreeMap::from([(2, vec![None]), (3, vec![None])]);
            let greeter = greeter(&mut cluster, &[configs], learners, &peers).await;
            let began = cluster.ports.clock.monotonic();
            greeter.greet().await.expect("nobody objects");
            assert!(cluster.ports.clock.monotonic() - began <= HEARTBEAT);
        });
    }
}

#[test]
fn a_learner_hears_of_its_rollback_where_somebody_answers() {
    simulate(4, async |mut cluster| {
        let peers = Scripted::default();
        *peers.answers.lock().expect("one thread") =
            BTreeMap::from([(2, vec![Some(saw(9, 0, None))]), (3, vec![None])]);
        let greeter = greeter(&mut cluster, &[&[2, 3]], &[1], &peers).await;
        assert_eq!(greeter.greet().await.expect_err("it stays out").why, Out::RolledBack);
    });
}

/// Whatever ends a process or a machine, a node that kept its disk is let in.
#[test]
fn ordinary_restarts_are_never_refused() {
    for seed in 0..12_u64 {
        simulate(500 + seed, async |mut cluster| {
            (cluster.snapshot_entries, cluster.keep_entries) = (60, 10);
            cluster.form(3).await;
            for round in 0..6 {
                let random = u64::from_le_bytes(cluster.ports.random());
                write_many(&cluster, round * 40..round * 40 + 1 + random % 80).await;
                cluster.sleep(Duration::from_millis(random >> 8 & 0x7ff)).await;
                let ids: Vec<u64> = match random % 4 {
                    0 => vec![1, 2, 3],
                    one => vec![one],
                };
                for id in &ids {
                    if random >> 32 & 1 == 0 {
                        cluster.cut_power(*id).await;
                    } else {
                        cluster.stop(*id).await;
                    }
                }
                let out = cluster.greet_and_start(ids).await;
                assert!(out.is_empty(), "seed {seed}, round {round}: {out:?}");
                cluster.write("a", "it goes on").await;
            }
        });
    }
}

/// Entries that were on the disk of a deposed leader, and of nobody else, are cut.
#[test]
fn a_truncated_tail_is_no_rollback() {
    for seed in 550..553 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            let old = cluster.leader().await;
            cluster.router.isolate(old, (1..=3).filter(|id| *id != old));
            let cut_off = cluster.raft(old);
            let lost = (0..5).map(|n| cut_off.propose(crate::support::put("lost", &n.to_string())));
            let waiting = cluster.ports.within(ELECTION_MAX, futures::future::join_all(lost));
            assert!(waiting.await.is_err());
            cluster.sleep(Duration::from_secs(5)).await;
            cluster.router.heal();
            cluster.write("a", "1").await;
            cluster.sleep(Duration::from_secs(5)).await;
            cluster.cut_power(old).await;
            let out = cluster.greet_and_start([old]).await;
            assert!(out.is_empty(), "{out:?}");
        });
    }
}

#[test]
fn a_directory_that_was_put_back_stays_out_and_says_why() {
    for seed in 560..566 {
        simulate(seed, async |mut cluster| {
            if seed % 2 == 0 {
                (cluster.snapshot_entries, cluster.keep_entries) = (60, 10);
            }
            cluster.form(3).await;
            write_many(&cluster, 0..20).await;
            let id = 1 + seed % 3;
            cluster.stop(id).await;
            let copy = cluster.copy_of(id);
            assert!(cluster.greet_and_start([id]).await.is_empty());
            write_many(&cluster, 20..120).await;
            cluster.sleep(Duration::from_secs(5)).await;
            cluster.stop(id).await;
            cluster.put_back(id, &copy);
            let out = cluster.greet_and_start([id]).await;
            let why = out.get(&id).expect("it stays out");
            assert_eq!(why.why, Out::RolledBack);
            assert!(why.text.contains("went back in time"), "{why}");
            assert!(why.text.contains("conclaved rejoin"), "{why}");
            cluster.write("a", "the others go on").await;
        });
    }
}

/// The copy was made while the node ran, so that it was started no more often than the copy says.
#[test]
fn lost_entries_alone_keep_a_node_out_even_after_all_restarted() {
    for seed in 580..583 {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            write_many(&cluster, 0..20).await;
            cluster.sleep(Duration::from_secs(3)).await;
            let id = 1 + seed % 3;
            let copy = cluster.copy_of(id);
            write_many(&cluster, 20..40).await;
            cluster.sleep(Duration::from_secs(5)).await;
            for node in 1..=3 {
                cluster.stop(node).await;
            }
            cluster.put_back(id, &copy);
            let out = cluster.greet_and_start(1..=3).await;
            assert_eq!(out.keys().collect::<Vec<_>>(), [&id]);
            assert!(out[&id].text.contains("entry"), "{}", out[&id]);
            cluster.write("a", "the others go on").await;
        });
    }
}

#[test]
fn a_node_that_was_removed_while_it_was_down_is_told() {
    simulate(590, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.leader().await;
        let gone = 1 + leader % 3;
        cluster.stop(gone).await;
        cluster.raft(leader).remove_member(gone).await.expect("the others are enough");
        cluster.write("a", "1").await;
        let out = cluster.greet_and_start([gone]).await;
        assert_eq!(out.get(&gone).expect("it stays out").why, Out::Fenced);
    });
}

/// A joiner that restarts half-way reads of memberships without itself, and so do peers that lag.
#[test]
fn a_joiner_that_restarts_half_way_is_not_taken_for_removed() {
    for delay in (0..20_u64).step_by(3) {
        simulate(600 + delay, async |mut cluster| {
            cluster.form(3).await;
            write_many(&cluster, 0..300).await;
            cluster.start(4).await;
            let leader = cluster.raft(cluster.leader().await);
            let add = AddMember { member: member(4), voter: true };
            let clock = cluster.ports.clock.clone();
            let dying = async {
                clock.sleep(Duration::from_millis(delay)).await;
                cluster.stop(4).await;
                let out = cluster.greet_and_start([4]).await;
                assert!(out.is_empty(), "{out:?}");
            };
            let (added, ()) = futures::join!(leader.add_member(add), dying);
            added.expect("it is added");
        });
    }
}

#[test]
fn a_greeting_that_is_given_up_leaves_nothing_behind() {
    simulate(620, async |mut cluster| {
        cluster.form(3).await;
        for id in 1..=3 {
            cluster.stop(id).await;
        }
        let opened = cluster.open(1);
        assert!(cluster.ports.within(ELECTION_MAX * 5, opened.greeter.greet()).await.is_err());
        cluster.router.detach(1);
        opened.parts.log.close();
        drop(opened);
        assert!(cluster.greet_and_start(1..=3).await.is_empty());
        cluster.write("a", "1").await;
    });
}

/// Put back to before it knew anybody a node greets nobody. Its peers tell it while it runs.
#[test]
fn a_running_node_hears_from_its_peers_what_it_lacks() {
    let more = [
        v1::Seen { boot_counter: 99, ..v1::Seen::default() },
        v1::Seen { vote_term: 99, ..v1::Seen::default() },
        v1::Seen { durable: Some(id(1, 10_000)), ..v1::Seen::default() },
    ];
    for (seed, seen) in (630..).zip(more) {
        simulate(seed, async |mut cluster| {
            cluster.form(3).await;
            cluster.write("a", "1").await;
            let leader = cluster.leader().await;
            let (teller, told) = (1 + leader % 3, 1 + (leader + 1) % 3);
            cluster.stop(teller).await;
            let opened = cluster.open(teller);
            opened.parts.seen.saw(&v1::Seen { node_id: told, ..seen });
            cluster.start_opened(opened).await.expect("it starts").set_readiness(Readiness::Ready);
            let began = cluster.ports.clock.monotonic();
            cluster
                .eventually("the news", |cluster| {
                    cluster.raft(told).status().rolled_back.then_some(())
                })
                .await;
            assert!(cluster.ports.clock.monotonic() - began < Duration::from_secs(5));
            let status = cluster.raft(told).status();
            assert_eq!((status.fatal, status.is_leader), (None, false));
            let refused = cluster.raft(told).propose(crate::support::put("a", "2")).await;
            assert!(matches!(refused, Err(ProposeError::Stopped(_))), "{refused:?}");
            cluster.write("a", "the others go on").await;
            assert!(!cluster.raft(leader).status().rolled_back);
            assert!(!cluster.raft(teller).status().rolled_back);
        });
    }
}

/// It could have voted in that term before it lost all it had.
#[test]
fn a_node_without_a_log_gives_no_vote() {
    simulate(640, async |mut cluster| {
        let node = cluster.start(1).await;
        for pre_vote in [true, false] {
            let request = v1::VoteRequest {
                from: 2,
                vote: Some(v1::Vote { term: 7, node_id: 2, committed: false }),
                last_log_id: Some(id(6, 100)),
                pre_vote,
                leadership_transfer: false,
            };
            let refused = node.on_vote(request).await;
            assert!(matches!(refused, Err(PeerError::Refused { .. })), "{refused:?}");
        }
        assert_eq!(cluster.nodes[&1].log.vote(), None);
    });
}

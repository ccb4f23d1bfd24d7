//! The client against nodes that lose answers, change leader, forget sessions and die.
#![expect(clippy::disallowed_methods, reason = "the fake nodes are real tasks in real time")]

mod fake;

use std::time::{Duration, Instant};

use conclave_sdk::{Client, Error, ErrorCode, ReadPreference, Token};
use serde_json::json;

use crate::fake::{Fault, Nodes};

/// A call that a broken client would make for ever fails its test instead.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it ends in time")
}

fn puts_at(nodes: &Nodes) -> Vec<usize> {
    let calls = nodes.lock().calls.clone();
    calls.into_iter().filter(|(_, what)| *what == "put").map(|(node, _)| node).collect()
}

#[tokio::test]
async fn values_come_back_and_metadata_goes_along() {
    let nodes = Nodes::start(3).await;
    let mut config = nodes.config();
    config.namespace = "team".into();
    let client = Client::connect(config).await.expect("valid");
    let kv = client.kv("secret");
    assert_eq!(kv.get("a", None).await.expect("answered"), None);
    let written = kv.put("a", json!({"x": 1}), Some(0)).await.expect("written");
    assert_eq!(written.version, 1);
    let secret = kv.get("a", None).await.expect("answered").expect("there");
    assert_eq!(secret.value().expect("JSON"), json!({"x": 1}));
    assert_eq!(kv.list("").await.expect("answered"), ["a"]);
    kv.delete("a", &[]).await.expect("deleted");
    let headers = nodes.lock().headers.clone();
    let value = |key: &str| headers.iter().find(|(name, _)| name == key).map(|(_, v)| v.as_str());
    assert_eq!(value("authorization"), Some("Bearer hvs.test"));
    assert_eq!(value("x-vault-namespace"), Some("team"));
    assert!(value("grpc-timeout").is_some());
    assert!(!format!("{client:?} {secret:?}").contains("hvs.test"));
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let nodes = Nodes::start(1).await;
    let names: Vec<String> = (0..2500).map(|n| format!("k{n:05}")).collect();
    for name in &names {
        nodes.lock().secrets.insert(name.clone(), (1, "{}".into()));
    }
    assert_eq!(nodes.client().await.kv("secret").list("").await.expect("answered"), names);
    let lists = nodes.lock().calls.iter().filter(|(_, what)| *what == "list").count();
    assert_eq!(lists, 3);
}

#[tokio::test]
async fn members_are_discovered_writes_go_to_the_leader_and_reads_spread() {
    let nodes = Nodes::start(3).await;
    nodes.lock().leader = Some(2);
    let client = nodes.client().await;
    assert_eq!(client.addresses().len(), 3);
    let kv = client.kv("secret");
    for _ in 0..6 {
        kv.put("a", json!({}), None).await.expect("written");
        kv.get("a", None).await.expect("read");
    }
    assert_eq!(puts_at(&nodes), [2; 6]);
    let calls = nodes.lock().calls.clone();
    for node in 0..3 {
        let reads = calls.iter().filter(|call| **call == (node, "get")).count();
        assert_eq!(reads, 2, "node {node}");
    }
}

#[tokio::test]
async fn reads_can_prefer_the_leader() {
    let nodes = Nodes::start(3).await;
    nodes.lock().leader = Some(1);
    let mut config = nodes.config();
    config.read_preference = ReadPreference::Leader;
    let client = Client::connect(config).await.expect("valid");
    for _ in 0..4 {
        client.kv("secret").get("a", None).await.expect("answered");
    }
    assert!(nodes.lock().calls.iter().all(|call| *call == (1, "get")));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_executed_once() {
    let nodes = Nodes::start(3).await;
    let client = nodes.client().await;
    let kv = client.kv("secret");
    nodes.fault([Fault::LoseReply, Fault::LoseReply, Fault::LoseRequest]);
    let written = soon(kv.put("a", json!({}), Some(0))).await.expect("written once");
    assert_eq!(written.version, 1);
    let shared = nodes.lock();
    assert_eq!((shared.executed, shared.writes_seen), (1, 4));
    // Three of the four attempts reached the state; all carried the same number.
    let numbers: Vec<u64> = shared.tags.iter().map(|tag| tag.sequence).collect();
    assert_eq!(numbers, [1, 1, 1]);
}

#[tokio::test]
async fn an_internal_or_unclear_answer_is_asked_again_under_the_same_id() {
    let nodes = Nodes::start(3).await;
    nodes.fault([Fault::Answer(ErrorCode::Internal), Fault::Answer(ErrorCode::OutcomeUnknown)]);
    let kv = nodes.client().await.kv("secret");
    assert_eq!(soon(kv.put("a", json!({}), None)).await.expect("written").version, 1);
}

#[tokio::test]
async fn errors_that_stay_are_not_retried() {
    let nodes = Nodes::start(3).await;
    let kv = nodes.client().await.kv("secret");
    for code in [
        ErrorCode::InvalidRequest,
        ErrorCode::CasMismatch,
        ErrorCode::PermissionDenied,
        ErrorCode::NotFound,
        ErrorCode::UnsupportedOperation,
        ErrorCode::Conflict,
        ErrorCode::TooLarge,
        ErrorCode::NotInitialized,
    ] {
        let before = nodes.lock().writes_seen;
        nodes.fault([Fault::Answer(code)]);
        let error = soon(kv.put("a", json!({}), None)).await.expect_err("refused");
        assert_eq!(error, Error::Refused { code, message: format!("{code:?}") });
        assert_eq!(nodes.lock().writes_seen, before + 1, "{code:?}");
    }
}

#[tokio::test]
async fn a_new_leader_is_found() {
    let nodes = Nodes::start(3).await;
    let client = nodes.client().await;
    let kv = client.kv("secret");
    kv.put("a", json!({}), None).await.expect("written");
    nodes.lock().leader = Some(1);
    nodes.lock().term = 2;
    nodes.lock().node_faults.insert(0, Fault::Answer(ErrorCode::NoLeader));
    soon(kv.put("a", json!({}), None)).await.expect("written elsewhere");
    soon(async {
        while client.leader().map(|leader| leader.to_string())
            != nodes.lock().addresses.get(1).cloned()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let before = puts_at(&nodes).len();
    kv.put("a", json!({}), None).await.expect("written");
    assert_eq!(puts_at(&nodes)[before..], [1]);
}

#[tokio::test]
async fn without_a_leader_for_a_while_a_write_waits() {
    let nodes = Nodes::start(3).await;
    let kv = nodes.client().await.kv("secret");
    nodes.lock().leader = None;
    nodes.fault(std::iter::repeat_n(Fault::Answer(ErrorCode::NoLeader), 6));
    assert_eq!(soon(kv.put("a", json!({}), None)).await.expect("written").version, 1);
}

#[tokio::test]
async fn a_node_that_is_gone_or_hangs_is_passed_over() {
    let mut nodes = Nodes::start(3).await;
    let mut config = nodes.config();
    config.timeouts.attempt = Duration::from_millis(300);
    let client = Client::connect(config).await.expect("valid");
    let kv = client.kv("secret");
    nodes.lock().leader = Some(2);
    nodes.stop(0).await;
    nodes.lock().node_faults.insert(0, Fault::LoseRequest);
    nodes.lock().node_faults.insert(1, Fault::Hang);
    soon(kv.put("a", json!({}), None)).await.expect("the third node writes");
    let begun = Instant::now();
    for _ in 0..10 {
        soon(kv.get("a", None)).await.expect("the third node reads");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "suspects are not asked each time");
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_nothing_was_executed() {
    let mut nodes = Nodes::start(1).await;
    let mut config = nodes.config();
    nodes.stop(0).await;
    config.retry.attempts_max = 3;
    let client = Client::connect(config).await.expect("unreachable nodes are no error yet");
    let error = soon(client.kv("secret").put("a", json!({}), None)).await.expect_err("nobody");
    assert!(matches!(error, Error::Unreachable { attempts: 3, .. }), "{error}");
    assert_eq!(error.to_string().matches("refused").count(), 1, "the cause is named once: {error}");
}

#[tokio::test]
async fn the_one_node_that_is_left_says_why_nothing_goes() {
    let mut nodes = Nodes::start(3).await;
    let mut config = nodes.config();
    config.discover = false;
    config.addresses = nodes.lock().addresses.clone();
    config.retry.attempts_max = 6;
    let client = Client::connect(config).await.expect("valid");
    nodes.stop(1).await;
    nodes.stop(2).await;
    let code = ErrorCode::Unavailable;
    nodes.lock().node_faults.insert(0, Fault::Answer(code));
    let expected = Error::Refused { code, message: format!("{code:?}") };
    let error = soon(client.kv("secret").get("a", None)).await.expect_err("no quorum");
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (nodes, others) = (Nodes::start(1).await, Nodes::start(1).await);
    let mut config = nodes.config();
    config.addresses = others.lock().addresses.clone();
    config.retry.attempts_max = 2;
    config.danger_accept_invalid_certs = false;
    let client = Client::connect(config.clone()).await.expect("valid");
    let error = soon(client.operator().status(None)).await.expect_err("not trusted");
    assert!(error.to_string().contains("certificate"), "{error}");
    config.danger_accept_invalid_certs = true;
    let client = Client::connect(config).await.expect("valid");
    soon(client.operator().status(None)).await.expect("anything is accepted");
}

#[tokio::test]
async fn an_ended_session_is_replaced_before_anything_was_executed_with_it() {
    let nodes = Nodes::start(3).await;
    let kv = nodes.client().await.kv("secret");
    kv.put("a", json!({}), None).await.expect("written");
    nodes.fault([Fault::ForgetSessions]);
    assert_eq!(soon(kv.put("a", json!({}), None)).await.expect("written").version, 2);
    let shared = nodes.lock();
    assert_eq!((shared.sessions_opened, shared.executed), (2, 2));
}

#[tokio::test]
async fn an_ended_session_after_a_lost_answer_is_told_and_not_executed_again() {
    let nodes = Nodes::start(3).await;
    let kv = nodes.client().await.kv("secret");
    nodes.fault([Fault::LoseReplyAndSessions]);
    let error = soon(kv.put("a", json!({}), None)).await.expect_err("nobody can know");
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert_eq!(nodes.lock().executed, 1);
    assert_eq!(soon(kv.put("a", json!({}), None)).await.expect("goes on").version, 2);
}

#[tokio::test]
async fn a_session_is_renewed_before_it_ends_and_opened_once_for_many() {
    let nodes = Nodes::start(1).await;
    nodes.lock().session_ttl_ms = 400;
    let kv = nodes.client().await.kv("secret");
    let burst: Vec<_> = (0..20).map(|n| (kv.clone(), format!("k{n}"))).collect();
    let burst = burst.into_iter().map(|(kv, path)| {
        tokio::spawn(async move { kv.put(&path, json!({}), None).await.map(|_| ()) })
    });
    for task in burst.collect::<Vec<_>>() {
        soon(task).await.expect("no panic").expect("written");
    }
    assert_eq!(nodes.lock().sessions_opened, 1);
    tokio::time::sleep(Duration::from_millis(250)).await;
    kv.put("a", json!({}), None).await.expect("written");
    assert_eq!(nodes.lock().sessions_opened, 2);
}

#[tokio::test]
async fn the_low_water_mark_waits_for_the_slowest_request() {
    let nodes = Nodes::start(1).await;
    let mut config = nodes.config();
    config.timeouts.attempt = Duration::from_millis(400);
    let kv = Client::connect(config).await.expect("valid").kv("secret");
    nodes.fault([Fault::Hang]);
    let slow = tokio::spawn({
        let kv = kv.clone();
        async move { kv.put("slow", json!({}), None).await }
    });
    soon(async {
        while nodes.lock().writes_seen == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    kv.put("fast", json!({}), None).await.expect("written");
    soon(slow).await.expect("no panic").expect("written at the second attempt");
    kv.put("later", json!({}), None).await.expect("written");
    let tags: Vec<(u64, u64)> =
        nodes.lock().tags.iter().map(|tag| (tag.sequence, tag.low_water)).collect();
    assert_eq!(tags, [(2, 1), (1, 1), (3, 3)]);
}

#[tokio::test]
async fn what_carries_no_id_is_not_sent_twice() {
    let nodes = Nodes::start(1).await;
    let mut config = nodes.config();
    config.request_ids = false;
    let client = Client::connect(config).await.expect("valid");
    nodes.fault([Fault::LoseReply]);
    let error = soon(client.kv("secret").put("a", json!({}), None)).await.expect_err("lost");
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    let address = nodes.lock().addresses[0].clone();
    let Err(error) = soon(client.operator().init(&address, 5, 3)).await else {
        panic!("its answer was lost");
    };
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert_eq!(nodes.lock().executed, 2, "one put and one init");
}

#[tokio::test]
async fn closing_ends_the_session_and_another_token_has_its_own() {
    let nodes = Nodes::start(1).await;
    let client = nodes.client().await;
    client.kv("secret").put("a", json!({}), None).await.expect("written");
    let other = client.with_token(&Token::new("hvs.other")).expect("a token");
    other.kv("secret").put("a", json!({}), None).await.expect("written");
    assert_eq!(nodes.lock().sessions.len(), 2);
    client.close().await.expect("closed");
    client.close().await.expect("nothing to close");
    assert_eq!(nodes.lock().sessions.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_under_lost_messages_count_exactly() {
    const CLIENTS: u64 = 4;
    const EACH: u64 = 50;
    let nodes = Nodes::start(3).await;
    nodes.lock().lose_every = 7;
    let mut tasks = Vec::new();
    for _ in 0..CLIENTS {
        let kv = nodes.client().await.kv("secret");
        tasks.push(tokio::spawn(async move {
            for _ in 0..EACH {
                let add_one = |old: Option<serde_json::Value>| {
                    let n = old.and_then(|old| old["n"].as_u64()).unwrap_or(0);
                    json!({"n": n + 1})
                };
                kv.update("counter", add_one).await.expect("counted");
            }
        }));
    }
    for leader in [1, 2, 0] {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut shared = nodes.lock();
        shared.leader = Some(leader);
        shared.term += 1;
    }
    for task in tasks {
        soon(task).await.expect("no client failed");
    }
    let shared = nodes.lock();
    let (version, data) = shared.secrets.get("counter").cloned().expect("it was counted");
    assert_eq!(version, CLIENTS * EACH);
    assert_eq!(data, json!({"n": CLIENTS * EACH}).to_string().as_bytes());
}

async fn saved(client: &Client) -> Result<Vec<u8>, Error> {
    let mut download = client.operator().save_snapshot().await?;
    let mut whole = Vec::new();
    while let Some(piece) = download.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

#[tokio::test]
async fn backups_stream_both_ways() {
    let nodes = Nodes::start(3).await;
    let backup: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    nodes.lock().backup = backup.clone();
    let client = nodes.client().await;
    assert_eq!(soon(saved(&client)).await.expect("saved"), backup);
    nodes.lock().break_backups = true;
    let broken = soon(saved(&client)).await.expect_err("it broke off");
    assert_eq!(broken.code(), Some(ErrorCode::Internal));
    // A node that took nothing is asked again, with the whole file.
    for force in [false, true] {
        nodes.fault([Fault::Answer(ErrorCode::NoLeader)]);
        let other: Vec<u8> = backup.iter().rev().copied().collect();
        let source = other.clone();
        let open = move || Ok(std::io::Cursor::new(source.clone()));
        let restored = soon(client.operator().restore_snapshot(force, open)).await;
        let restored = restored.expect("restored");
        assert_eq!((restored.revision, restored.epoch), (9, 2));
        assert!(nodes.lock().backup == other);
    }
    assert_eq!(nodes.lock().told, ["restore false", "restore true"]);
    let gone = || Err::<std::io::Empty, _>(std::io::ErrorKind::NotFound.into());
    let missing = client.operator().restore_snapshot(false, gone).await;
    assert!(!missing.expect_err("there is no file").is_remote());
}

#[tokio::test]
async fn members_change_their_part() {
    let nodes = Nodes::start(1).await;
    let operator = nodes.client().await.operator();
    soon(operator.promote_member("n2")).await.expect("promoted");
    soon(operator.demote_member("3")).await.expect("demoted");
    let address = nodes.lock().addresses[0].clone();
    soon(operator.join(&address, "jt", "", false)).await.expect("joined");
    assert_eq!(nodes.lock().told, ["n2", "3", "jt"]);
    assert_eq!(soon(operator.membership()).await.expect("answered"), Default::default());
}

use std::sync::Arc;
use std::sync::atomic::Ordering;

use conclave_barrier::ledger::LedgerError;
use futures::FutureExt;
use proptest::prelude::*;
use serde_json::json;

use crate::testing::{Bench, MemoryLedger, code, finish, new_barrier};
use crate::update::ATTEMPTS_MAX;
use crate::{Access, Core, ErrorCode, Operation, ReadLevel, Token};

const ALL: [Operation; 5] =
    [Operation::Read, Operation::Write, Operation::List, Operation::Delete, Operation::Patch];

fn value(value: u64) -> serde_json::Value {
    json!({"data": {"value": value}})
}

#[test]
fn a_secret_goes_in_and_comes_out() {
    let bench = Bench::new();
    let request =
        bench.request(Operation::Write, "secret/data/app", value(1).to_string().as_bytes());
    let written = bench.send(&request).unwrap();
    assert_eq!(written.revision, bench.ledger.revision());
    let read = bench.send(&bench.request(Operation::Read, "secret/data/app", b"")).unwrap();
    assert_eq!(read.revision, written.revision);
    assert_eq!(bench.read("secret/data/app").unwrap()["data"], json!({"value": 1}));
    let keys = bench.call(Operation::List, "secret/metadata", &json!({})).unwrap();
    assert_eq!(keys, json!({"keys": ["app"]}));
}

#[test]
fn every_bad_token_is_told_the_same() {
    let bench = Bench::new();
    let almost = bench.root_token[..bench.root_token.len() - 1].to_owned();
    let texts = ["", "hvs.x", almost.as_str(), &"x".repeat(100_000), "hvs.\0"];
    let tokens = texts.iter().map(|text| Some(Token::new((*text).to_owned()))).chain([None]);
    for token in tokens {
        for path in ["secret/data/app", "nowhere", "sys/nothing"] {
            for operation in ALL {
                let mut request = bench.request(operation, path, b"");
                request.token = token.as_ref().map(|token| Token::new(token.expose().to_owned()));
                let error = bench.send(&request).unwrap_err();
                assert_eq!(error.code, ErrorCode::PermissionDenied);
                assert_eq!(error.message, "permission denied");
            }
        }
    }
}

#[test]
fn tokens_are_uniform_and_of_the_known_form() {
    let bench = Bench::new();
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let text = crate::token::make_text(&bench.ports);
        assert!(text.starts_with("hvs.") && text.len() == 28);
        text[4..].chars().for_each(|c| *counts.entry(c).or_insert(0_u32) += 1);
    }
    assert_eq!(counts.len(), 62);
    assert!(counts.keys().all(char::is_ascii_alphanumeric));
    let mean = 24_000.0 / 62.0;
    assert!(counts.values().all(|count| (f64::from(*count) - mean).abs() < mean / 3.0));
}

/// THREATS row 67 and the canary of issue 4: neither token nor accessor, name or value in clear.
#[test]
fn row_067_nothing_readable_is_stored() {
    let bench = Bench::new();
    let canary = "canary5d41402abc4b2a76";
    let session = bench.open_session();
    let body = json!({"data": {canary: canary}});
    let path = format!("secret/data/{canary}/{canary}");
    bench.send(&bench.tagged(Operation::Write, &path, &body, &session, 1)).unwrap();
    let stored = bench.ledger.all_bytes();
    for clear in [canary, &bench.root_token, &bench.root_token[4..], "secret/", "root", "ca key"] {
        let found = stored.windows(clear.len()).any(|window| window == clear.as_bytes());
        assert!(!found, "{clear} is stored in clear");
    }
}

#[test]
fn unknown_paths_and_operations_are_told_apart() {
    let bench = Bench::new();
    let error = bench.read("nowhere/x").unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert_eq!(error.message, "no handler for route \"nowhere/x\". route entry not found.");
    assert_eq!(code(bench.read("secret")), ErrorCode::NotFound);
    assert_eq!(code(bench.read("sys/nothing")), ErrorCode::NotFound);
    assert!(bench.read("secret/app").unwrap_err().message.contains("'data/'"));
    let answer = bench.call(Operation::Patch, "secret/config", &json!({}));
    assert_eq!(code(answer), ErrorCode::UnsupportedOperation);
    let answer = bench.call(Operation::Delete, "sys/seal", &json!({}));
    assert_eq!(code(answer), ErrorCode::UnsupportedOperation);
}

#[test]
fn other_namespaces_are_not_found() {
    let bench = Bench::new();
    let mut request = bench.request(Operation::Read, "secret/data/app", b"");
    request.namespace = "team/".into();
    assert_eq!(code(bench.send(&request)), ErrorCode::NotFound);
    bench.write("secret/data/app", &value(1)).unwrap();
    for root in ["", "/", "root", "root/"] {
        request.namespace = root.into();
        let answer = bench.send(&request).unwrap();
        assert!(!format!("{answer:?}").contains("value"), "an answer's data is not for the log");
    }
}

/// THREATS row 1: whatever the spelling, the neighbour's secret stays.
#[test]
fn row_001_no_spelling_reaches_another_name() {
    let bench = Bench::new();
    bench.write("secret/data/b", &value(1)).unwrap();
    for path in [
        "secret/metadata/a/../b",
        "secret/metadata/a/%2e%2e/b",
        "secret/metadata/a\\..\\b",
        "secret/metadata//b",
        "secret/metadata/b/",
        "secret/./metadata/b",
        "/secret/metadata/b",
    ] {
        let answer = bench.call(Operation::Delete, path, &json!({}));
        assert_eq!(code(answer), ErrorCode::InvalidRequest, "{path}");
    }
    assert_eq!(bench.read("secret/metadata/b").unwrap()["current_version"], 1);
}

/// THREATS row 54: over-long names and values are refused before anything is proposed.
#[test]
fn row_054_what_is_too_large_is_not_proposed() {
    let bench = Bench::new();
    let before = bench.ledger.revision();
    let answer = bench.write(&format!("secret/data/{}", "k".repeat(64 << 10)), &value(1));
    assert_eq!(code(answer), ErrorCode::InvalidRequest);
    let deep = format!("secret/data/{}", vec!["k"; 10_000].join("/"));
    assert_eq!(code(bench.write(&deep, &value(1))), ErrorCode::InvalidRequest);
    let large = json!({"data": {"value": "x".repeat(1 << 20)}});
    assert_eq!(code(bench.write("secret/data/app", &large)), ErrorCode::TooLarge);
    let larger = json!({"data": {"value": "x".repeat(2 << 20)}});
    assert_eq!(code(bench.write("secret/data/app", &larger)), ErrorCode::TooLarge);
    assert_eq!(bench.ledger.revision(), before);
}

/// The same where the request carries an id: nothing of it is remembered, so the id is still free.
#[test]
fn row_054_what_is_too_large_is_not_proposed_with_an_id_either() {
    let bench = Bench::new();
    let session = bench.open_session();
    let (before, commits) = (bench.ledger.revision(), bench.ledger.commits.load(Ordering::Relaxed));
    for bytes in [1 << 20, 2 << 20] {
        let large = json!({"data": {"value": "x".repeat(bytes)}});
        let large = bench.tagged(Operation::Write, "secret/data/app", &large, &session, 1);
        for _ in 0..2 {
            assert_eq!(code(bench.send(&large)), ErrorCode::TooLarge);
        }
    }
    assert_eq!(bench.ledger.revision(), before);
    assert_eq!(bench.ledger.commits.load(Ordering::Relaxed), commits);
    let small = bench.tagged(Operation::Write, "secret/data/app", &value(1), &session, 1);
    assert!(bench.send(&small).unwrap().revision > before);
}

/// What a version may hold: its JSON as it was sent, 4 bytes below the largest value.
#[test]
fn the_longest_value_comes_back_and_one_byte_more_is_refused() {
    let bench = Bench::new();
    let longest = conclave_barrier::VALUE_BYTES_MAX - 4;
    let data = |bytes: usize| json!({"value": "x".repeat(bytes - r#"{"value":""}"#.len())});
    bench.write("secret/data/app", &json!({"data": data(longest)})).unwrap();
    let read = bench.read("secret/data/app").unwrap();
    assert!(read["data"] == data(longest), "another value came back");
    let before = bench.ledger.revision();
    let longer = json!({"data": data(longest + 1)});
    assert_eq!(code(bench.write("secret/data/app", &longer)), ErrorCode::TooLarge);
    assert_eq!(bench.ledger.revision(), before);
}

#[test]
fn only_what_reads_the_same_everywhere_may_be_read_elsewhere() {
    let bench = Bench::new();
    let anywhere =
        |operation, path| bench.core.reads_anywhere(&bench.request(operation, path, b"{}"));
    assert!(anywhere(Operation::Read, "secret/data/app"));
    assert!(anywhere(Operation::List, "secret/metadata/"));
    assert!(anywhere(Operation::Read, "sys/mounts"));
    assert!(anywhere(Operation::Read, "not-here-yet/data/app"));
    for (operation, path) in [
        (Operation::Write, "secret/data/app"),
        (Operation::Write, "sys/seal"),
        (Operation::Write, "sys/step-down"),
        (Operation::Read, "sys/metrics"),
        (Operation::Read, "sys/storage/raft/snapshot"),
        (Operation::Read, "secret//data"),
    ] {
        assert!(!anywhere(operation, path), "{operation:?} {path}");
    }
}

#[test]
fn a_write_without_an_entry_is_answered_behind_a_read_barrier() {
    let bench = Bench::new();
    bench.write("secret/data/app", &value(1)).unwrap();
    let commits = bench.ledger.commits.load(Ordering::Relaxed);
    let barriers = bench.ledger.barriers.load(Ordering::Relaxed);
    let body = json!({"data": {}, "options": {"cas": 7}});
    assert_eq!(code(bench.write("secret/data/app", &body)), ErrorCode::CasMismatch);
    bench.call(Operation::Delete, "secret/data/none", &json!({})).unwrap();
    assert_eq!(bench.ledger.commits.load(Ordering::Relaxed), commits);
    assert_eq!(bench.ledger.barriers.load(Ordering::Relaxed), barriers + 2);
}

#[test]
fn one_read_barrier_serves_a_request_at_every_level() {
    let bench = Bench::new();
    bench.write("secret/data/app", &value(1)).unwrap();
    let revision = bench.ledger.revision();
    for level in [ReadLevel::Linearizable, ReadLevel::Stale, ReadLevel::AtRevision(revision)] {
        let before = bench.ledger.barriers.load(Ordering::Relaxed);
        let mut request = bench.request(Operation::Read, "secret/data/app", b"");
        request.read_level = level;
        assert_eq!(bench.send(&request).unwrap().revision, revision);
        assert_eq!(bench.ledger.barriers.load(Ordering::Relaxed), before + 1);
    }
    let mut request = bench.request(Operation::Read, "secret/data/app", b"");
    request.read_level = ReadLevel::AtRevision(revision + 1);
    assert_eq!(code(bench.send(&request)), ErrorCode::InvalidRequest);
}

/// A node that leads, as far as it knows.
fn leader() -> Bench {
    let bench = Bench::new();
    bench.write("secret/data/app", &value(1)).unwrap();
    bench.ledger.leads.store(true, Ordering::Relaxed);
    bench
}

#[test]
fn a_leaders_write_takes_no_barrier_and_its_refusal_takes_one() {
    let bench = leader();
    let before = bench.ledger.barriers.load(Ordering::Relaxed);
    bench.write("secret/data/app", &value(2)).unwrap();
    bench.call(Operation::Delete, "secret/data/app", &json!({})).unwrap();
    assert_eq!(bench.ledger.barriers.load(Ordering::Relaxed), before);
    let body = json!({"data": {}, "options": {"cas": 7}});
    assert_eq!(code(bench.write("secret/data/app", &body)), ErrorCode::CasMismatch);
    bench.call(Operation::Delete, "secret/data/none", &json!({})).unwrap();
    bench.read("secret/data/none").unwrap_err();
    assert_eq!(bench.ledger.barriers.load(Ordering::Relaxed), before + 3);
}

#[test]
fn a_leader_that_was_deposed_writes_nothing_for_a_token_revoked_meanwhile() {
    let bench = leader();
    let created = bench.send(&bench.request(Operation::Write, "auth/token/create", b"{}"));
    let auth: serde_json::Value = serde_json::from_slice(&created.unwrap().auth.unwrap()).unwrap();
    let token = Token::new(auth["client_token"].as_str().unwrap().to_owned());
    let revoke = json!({"token": token.expose()}).to_string();
    let revoke = bench.request(Operation::Write, "auth/token/revoke", revoke.as_bytes());
    bench.ledger.unseen(|| finish(bench.rival().handle(&revoke)).unwrap());
    let rows = bench.ledger.row_count();
    let body = value(2).to_string();
    let mut request = bench.request(Operation::Write, "secret/data/app", body.as_bytes());
    request.token = Some(token);
    assert_eq!(code(bench.send(&request)), ErrorCode::PermissionDenied);
    assert_eq!(bench.ledger.row_count(), rows);
    assert_eq!(bench.read("secret/data/app").unwrap()["metadata"]["version"], 1);
}

#[test]
fn what_an_old_view_refuses_is_decided_again() {
    let bench = leader();
    let body = value(2).to_string();
    let elsewhere = bench.request(Operation::Write, "secret/data/app", body.as_bytes());
    bench.ledger.unseen(|| finish(bench.rival().handle(&elsewhere)).unwrap());
    let body = json!({"data": {}, "options": {"cas": 2}});
    assert_eq!(bench.write("secret/data/app", &body).unwrap()["version"], 3);
}

/// Makes another node write to `path` just before each of the next `times` commits.
fn race(bench: &Bench, path: &'static str, mut times: usize) {
    let core = bench.rival();
    let request = bench.request(Operation::Write, path, value(99).to_string().as_bytes());
    *bench.ledger.before_commit.lock().unwrap() = Some(Box::new(move || {
        if let Some(left) = times.checked_sub(1) {
            times = left;
            finish(core.handle(&request)).unwrap();
        }
    }));
}

#[test]
fn a_lost_race_is_run_again_on_what_the_winner_left() {
    let bench = Bench::new();
    race(&bench, "secret/data/app", 3);
    assert_eq!(bench.write("secret/data/app", &value(1)).unwrap()["version"], 4);
}

#[test]
fn a_race_with_another_name_is_no_race() {
    let bench = Bench::new();
    bench.write("secret/data/app", &value(1)).unwrap();
    race(&bench, "secret/data/other", 1);
    let commits = bench.ledger.commits.load(Ordering::Relaxed);
    bench.write("secret/data/app", &value(2)).unwrap();
    assert_eq!(bench.ledger.commits.load(Ordering::Relaxed), commits + 2);
}

#[test]
fn writes_to_one_path_wait_for_their_turn() {
    let bench = Bench::new();
    let request =
        bench.request(Operation::Write, "secret/data/app", value(1).to_string().as_bytes());
    bench.ledger.faults.lock().unwrap().hang_commit = true;
    let mut first = Box::pin(bench.core.handle(&request));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = Box::pin(bench.core.handle(&request));
    assert!(second.as_mut().now_or_never().is_none());
    bench.read("secret/metadata/app").unwrap_err();
    bench.write("secret/data/other", &value(1)).unwrap();
    let mut stranger = bench.request(Operation::Write, "secret/data/app", b"{}");
    stranger.token = Some(Token::new("hvs.stranger".into()));
    assert_eq!(code(bench.send(&stranger)), ErrorCode::PermissionDenied);
    drop(first);
    finish(second).unwrap();
}

#[test]
fn check_and_set_loses_to_a_rival_only_by_its_version() {
    let bench = Bench::new();
    race(&bench, "secret/data/app", 1);
    let body = json!({"data": {}, "options": {"cas": 0}});
    assert_eq!(code(bench.write("secret/data/app", &body)), ErrorCode::CasMismatch);
}

#[test]
fn after_eight_lost_races_the_node_is_busy() {
    let bench = Bench::new();
    race(&bench, "secret/data/app", usize::MAX);
    assert_eq!(code(bench.write("secret/data/app", &value(1))), ErrorCode::Busy);
    *bench.ledger.before_commit.lock().unwrap() = None;
    let written = bench.write("secret/data/app", &value(1)).unwrap();
    assert_eq!(written["version"], ATTEMPTS_MAX as u64 + 1);
}

#[test]
fn a_token_that_goes_meanwhile_does_not_win() {
    let bench = Bench::new();
    let barrier = bench.barrier.clone();
    let text = bench.root_token.clone();
    *bench.ledger.before_commit.lock().unwrap() = Some(Box::new(move || {
        let hash = barrier.keyed_hash(conclave_barrier::HashPurpose::Token, text.as_bytes());
        let mut tx = barrier.transaction(barrier.ledger().view());
        tx.delete(&crate::rows::token(&hash)).unwrap();
        // The deletion's own commit must not call this again: the hook is taken while it runs.
        finish(tx.commit(None)).unwrap();
    }));
    assert_eq!(code(bench.write("secret/data/app", &value(1))), ErrorCode::PermissionDenied);
}

#[test]
fn failures_below_become_answers() {
    let bench = Bench::new();
    let cases = [
        (LedgerError::NotLeader, ErrorCode::NoLeader),
        (LedgerError::Busy, ErrorCode::Busy),
        (LedgerError::Unavailable, ErrorCode::Unavailable),
        (LedgerError::OutcomeUnknown, ErrorCode::OutcomeUnknown),
        (LedgerError::ViewExpired, ErrorCode::Busy),
        (LedgerError::TooLarge { bytes: 2, bytes_max: 1 }, ErrorCode::TooLarge),
        (LedgerError::Invalid("write a row once".into()), ErrorCode::InvalidRequest),
        (LedgerError::Damaged("chunk 7".into()), ErrorCode::Internal),
    ];
    for (fault, expected) in cases {
        bench.ledger.faults.lock().unwrap().commit = Some(fault.clone());
        let error = bench.write("secret/data/app", &value(1)).unwrap_err();
        assert_eq!(error.code, expected);
        assert!(!error.message.contains("chunk 7"));
        bench.ledger.faults.lock().unwrap().barrier = Some(fault);
        assert_eq!(code(bench.read("secret/data/app")), expected);
    }
}

#[test]
fn running_out_of_time_says_whether_anything_may_have_happened() {
    let bench = Bench::new();
    bench.world.out_of_time.store(true, Ordering::Relaxed);
    bench.ledger.faults.lock().unwrap().hang_barrier = true;
    assert_eq!(code(bench.write("secret/data/app", &value(1))), ErrorCode::DeadlineExceeded);
    bench.ledger.faults.lock().unwrap().hang_commit = true;
    assert_eq!(code(bench.write("secret/data/app", &value(1))), ErrorCode::OutcomeUnknown);
    bench.node.hang.store(true, Ordering::Relaxed);
    assert_eq!(code(bench.write("sys/step-down", &json!({}))), ErrorCode::OutcomeUnknown);
}

#[test]
fn writes_and_only_writes_run_on_the_leader() {
    let bench = Bench::new();
    let access = |operation, path| bench.core.access(&bench.request(operation, path, b""));
    for path in ["secret/data/app", "secret/metadata/app", "other/x"] {
        assert_eq!(access(Operation::Read, path), Access::Read);
        assert_eq!(access(Operation::List, path), Access::Read);
        assert_eq!(access(Operation::Write, path), Access::Write);
        assert_eq!(access(Operation::Delete, path), Access::Write);
    }
    for path in ["", "..", "secret//x", "sys/nothing", "sys/seal"] {
        assert_eq!(access(Operation::Write, path), Access::Read, "{path}");
    }
    assert_eq!(access(Operation::Write, "sys/step-down"), Access::Write);
}

#[test]
fn metrics_labels_carry_no_names() {
    let bench = Bench::new();
    bench.read("secret/data/app").unwrap_err();
    let template = |operation, path| bench.core.route_template(operation, path);
    assert_eq!(template(Operation::Read, "secret/data/canary"), "kv:data/*path");
    assert_eq!(template(Operation::List, "secret/metadata"), "kv:metadata/*path");
    assert_eq!(template(Operation::Read, "secret/canary"), "kv:unknown");
    assert_eq!(template(Operation::Write, "sys/seal"), "sys/seal");
    assert_eq!(template(Operation::Read, "canary/x"), "unknown");
    assert_eq!(template(Operation::Read, "canary//x"), "invalid");
}

#[test]
fn a_follower_routes_by_the_table_of_its_view() {
    let bench = Bench::new();
    let rival = bench.rival();
    let kv = bench.request(Operation::Delete, "sys/mounts/secret", b"");
    finish(rival.handle(&kv)).unwrap();
    let stale = bench.core.mounts.current();
    assert_eq!(code(bench.read("secret/metadata/app")), ErrorCode::NotFound);
    assert!(!Arc::ptr_eq(&stale, &bench.core.mounts.current()));
}

#[test]
fn a_cluster_is_initialised_once() {
    let Bench { ports, .. } = Bench::new();
    let ledger = Arc::new(MemoryLedger::new());
    let [first, late] = [(); 2].map(|()| new_barrier(&ledger, &ports));
    finish(Core::initialise(first, &ports, Vec::new())).map(drop).unwrap();
    assert_eq!(ledger.revision(), 1, "a cluster begins with one entry");
    let late = finish(Core::initialise(late, &ports, Vec::new()));
    assert_eq!(code(late), ErrorCode::InvalidRequest);
    assert_eq!(ledger.revision(), 2, "the late one was refused by the ledger");
}

/// THREATS rows 55 and 71 at the core's own doors.
#[test]
fn row_055_wrong_types_are_refused_without_an_echo() {
    let bench = Bench::new();
    let canary = "canary-5d41402abc4b2a76";
    let fields = [
        ("sys/storage/raft/remove-peer", "server_id"),
        ("sys/storage/raft/join-token", "ttl"),
        ("sys/storage/raft/join-token", "ttl_ms"),
        ("sys/sessions/open", "ttl_ms"),
        ("sys/sessions/close", "session"),
        ("secret/data/app", "data"),
        ("secret/data/app", "options"),
    ];
    let values = [
        json!(null),
        json!(-1),
        json!(1.5),
        json!(true),
        json!([canary]),
        json!({canary: canary}),
        json!(u64::MAX),
        json!(canary),
        json!([]),
    ];
    for (path, field) in fields {
        let bodies = values.iter().map(|value| json!({field: value}).to_string());
        let raw = [
            format!("{{\"{field}\":\"{canary}"),
            format!("{{\"{field}\":1{}}}", "0".repeat(400)),
            format!("[\"{canary}\"]"),
            canary.to_owned(),
        ];
        for body in bodies.chain(raw) {
            let answer = bench.send(&bench.request(Operation::Write, path, body.as_bytes()));
            let Err(error) = answer else { continue };
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{path} {body}");
            assert!(!format!("{error:?}").contains("canary"), "{path} {body}: {error:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_request_is_a_fault_of_ours(
        path in "(secret|sys|x)?/?(data|metadata|mounts|config|sessions)?/?[a./%]{0,8}",
        body: Vec<u8>,
        number in 1_u32..=5,
    ) {
        let bench = Bench::new();
        let operation = Operation::from_wire(number).unwrap();
        let answer = bench.send(&bench.request(operation, &path, &body));
        prop_assert!(answer.err().is_none_or(|error| error.code != ErrorCode::Internal));
    }

    #[test]
    fn two_paths_reach_one_secret_only_if_they_are_equal(left in "[a./%é]{1,6}", right in "[a./%é]{1,6}") {
        let bench = Bench::new();
        prop_assume!(left != right);
        if bench.write(&format!("secret/data/{left}"), &value(1)).is_ok() {
            let other = bench.read(&format!("secret/data/{right}"));
            prop_assert!(other.is_err());
        }
    }
}

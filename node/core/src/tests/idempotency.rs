use conclave_barrier::ledger::LedgerError;
use serde_json::json;

use crate::testing::{Bench, SESSIONS_MAX, code};
use crate::{ErrorCode, Operation, Token};

fn cas(cas: u64, value: u64) -> serde_json::Value {
    json!({"data": {"value": value}, "options": {"cas": cas}})
}

/// The heart of exactly-once increments: the first run took effect, nobody heard of it, and on the
/// second run the check-and-set no longer holds.
#[test]
fn a_write_sent_again_gets_its_first_answer() {
    let bench = Bench::new();
    let session = bench.open_session();
    let request = bench.tagged(Operation::Write, "secret/data/app", &cas(0, 1), &session, 1);
    bench.ledger.faults.lock().unwrap().lose_reply = true;
    assert_eq!(code(bench.send(&request)), ErrorCode::OutcomeUnknown);
    let revision = bench.ledger.revision();
    let replayed = bench.send(&request).unwrap();
    assert_eq!(replayed.revision, revision);
    let data: serde_json::Value = serde_json::from_slice(&replayed.data.unwrap()).unwrap();
    assert_eq!(data["version"], 1);
    assert_eq!(bench.read("secret/metadata/app").unwrap()["current_version"], 1);
}

#[test]
fn a_write_that_never_arrived_runs_when_sent_again() {
    let bench = Bench::new();
    let session = bench.open_session();
    let request = bench.tagged(Operation::Write, "secret/data/app", &cas(0, 1), &session, 1);
    bench.ledger.faults.lock().unwrap().commit = Some(LedgerError::OutcomeUnknown);
    assert_eq!(code(bench.send(&request)), ErrorCode::OutcomeUnknown);
    assert!(bench.send(&request).unwrap().data.is_some());
    assert_eq!(bench.read("secret/metadata/app").unwrap()["current_version"], 1);
}

#[test]
fn a_refusal_stays_the_answer_too() {
    let bench = Bench::new();
    let session = bench.open_session();
    let request = bench.tagged(Operation::Write, "secret/data/app", &cas(1, 1), &session, 1);
    let first = bench.send(&request).unwrap_err();
    assert_eq!(first.code, ErrorCode::CasMismatch);
    bench.write("secret/data/app", &cas(0, 1)).unwrap();
    let second = bench.send(&request).unwrap_err();
    assert_eq!((second.code, second.message), (first.code, first.message));
    assert_eq!(bench.read("secret/metadata/app").unwrap()["current_version"], 1);
}

#[test]
fn a_fault_is_not_remembered() {
    let bench = Bench::new();
    let session = bench.open_session();
    let request = bench.tagged(Operation::Write, "secret/data/app", &cas(0, 1), &session, 1);
    bench.ledger.faults.lock().unwrap().commit = Some(LedgerError::Unavailable);
    assert_eq!(code(bench.send(&request)), ErrorCode::Unavailable);
    bench.send(&request).unwrap();
}

#[test]
fn an_id_stands_for_one_request() {
    let bench = Bench::new();
    let session = bench.open_session();
    let send = |path: &str, body: &serde_json::Value, sequence| {
        bench.send(&bench.tagged(Operation::Write, path, body, &session, sequence))
    };
    send("secret/data/app", &cas(0, 1), 1).unwrap();
    assert_eq!(code(send("secret/data/app", &cas(0, 2), 1)), ErrorCode::Conflict);
    assert_eq!(code(send("secret/data/other", &cas(0, 1), 1)), ErrorCode::Conflict);
    send("secret/data/app", &cas(1, 2), 2).unwrap();
    let delete = bench.tagged(Operation::Delete, "secret/data/app", &cas(0, 1), &session, 1);
    assert_eq!(code(bench.send(&delete)), ErrorCode::Conflict);
}

#[test]
fn a_deletion_of_nothing_is_remembered() {
    let bench = Bench::new();
    let session = bench.open_session();
    let delete = bench.tagged(Operation::Delete, "secret/data/app", &json!({}), &session, 1);
    bench.send(&delete).unwrap();
    bench.write("secret/data/app", &cas(0, 1)).unwrap();
    bench.send(&delete).unwrap();
    bench.read("secret/data/app").unwrap();
}

#[test]
fn a_session_is_worth_nothing_without_its_token_or_after_its_end() {
    let bench = Bench::new();
    let session = bench.open_session();
    let never = bytes::Bytes::from_static(&[9; 16]);
    let request = bench.tagged(Operation::Write, "secret/data/app", &cas(0, 1), &never, 1);
    let error = bench.send(&request).unwrap_err();
    assert_eq!(error.code, ErrorCode::SessionUnknown);
    assert!(error.message.contains("open a new session"));
    assert_eq!(code(bench.read("secret/data/app")), ErrorCode::NotFound);

    let mut request = bench.tagged(Operation::Write, "secret/data/app", &cas(0, 1), &session, 1);
    request.token = Some(Token::new("hvs.another".into()));
    assert_eq!(code(bench.send(&request)), ErrorCode::PermissionDenied);

    bench.write("sys/sessions/close", &json!({"session": hex::encode(&session)})).unwrap();
    assert_eq!(bench.ledger.session_count(), 0);
    let request = bench.tagged(Operation::Write, "secret/data/app", &cas(0, 1), &session, 1);
    assert_eq!(code(bench.send(&request)), ErrorCode::SessionUnknown);
}

#[test]
fn sessions_are_counted_by_token() {
    let bench = Bench::new();
    for _ in 0..SESSIONS_MAX {
        bench.open_session();
    }
    assert_eq!(code(bench.write("sys/sessions/open", &json!({}))), ErrorCode::Busy);
}

#[test]
fn sessions_live_as_long_as_they_may() {
    let bench = Bench::new();
    let opened = bench.write("sys/sessions/open", &json!({"ttl_ms": "60000"})).unwrap();
    assert_eq!(opened["ttl_ms"], 60_000);
    for ttl_ms in [1, 999, 3_600_001] {
        let answer = bench.write("sys/sessions/open", &json!({"ttl_ms": ttl_ms}));
        assert_eq!(code(answer), ErrorCode::InvalidRequest);
    }
    for session in ["", "zz", "00"] {
        let answer = bench.write("sys/sessions/close", &json!({"session": session}));
        assert_eq!(code(answer), ErrorCode::InvalidRequest);
    }
}

#[test]
fn numbers_go_upwards() {
    let bench = Bench::new();
    let session = bench.open_session();
    let mut request = bench.tagged(Operation::Write, "secret/data/app", &cas(0, 1), &session, 1);
    request.idempotency.as_mut().unwrap().low_water = 2;
    assert_eq!(code(bench.send(&request)), ErrorCode::InvalidRequest);
}

#[test]
fn reads_need_no_id() {
    let bench = Bench::new();
    bench.write("secret/data/app", &cas(0, 1)).unwrap();
    let never = bytes::Bytes::from_static(&[9; 16]);
    let request = bench.tagged(Operation::Read, "secret/data/app", &json!({}), &never, 1);
    bench.send(&request).unwrap();
}

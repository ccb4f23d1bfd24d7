use std::sync::atomic::Ordering;

use conclave_barrier::ledger::LedgerError;
use serde_json::{Value, json};

use crate::testing::{Bench, SESSIONS_MAX, code, finish};
use crate::{ErrorCode, Idempotency, IdempotencyKey, Operation, Request, Token};

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
    let Some(Idempotency::Numbered(number)) = &mut request.idempotency else { unreachable!() };
    number.low_water = 2;
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

fn key(text: &str) -> Option<Idempotency> {
    Some(Idempotency::Keyed(IdempotencyKey::new(text).unwrap()))
}

fn keyed(bench: &Bench, operation: Operation, path: &str, body: &Value, text: &str) -> Request {
    let request = bench.request(operation, path, body.to_string().as_bytes());
    Request { idempotency: key(text), ..request }
}

fn put(bench: &Bench, body: &Value, text: &str) -> Request {
    keyed(bench, Operation::Write, "secret/data/app", body, text)
}

fn current_version(bench: &Bench) -> Value {
    bench.read("secret/metadata/app").unwrap()["current_version"].clone()
}

#[test]
fn a_request_with_a_key_runs_once_on_whatever_node() {
    let bench = Bench::new();
    let request = put(&bench, &json!({"data": {"value": 1}}), "k-1");
    let first = bench.send(&request).unwrap();
    for again in [bench.send(&request).unwrap(), finish(bench.rival().handle(&request)).unwrap()] {
        assert_eq!((again.revision, &again.data), (first.revision, &first.data));
    }
    assert_eq!(current_version(&bench), 1);
    bench.send(&put(&bench, &json!({"data": {"value": 1}}), "k-2")).unwrap();
    assert_eq!(current_version(&bench), 2, "another key is another request");
}

/// Loses the answer to the `nth` commit from now.
fn lose_answer(bench: &Bench, nth: i32) {
    let ledger = bench.ledger.clone();
    let mut before = nth;
    let mut count = move || {
        before -= 1;
        ledger.faults.lock().unwrap().lose_reply = before == 0;
    };
    count();
    // It runs inside of each commit and so decides about the next one.
    *bench.ledger.before_commit.lock().unwrap() = Some(Box::new(count));
}

/// The first entry opens the key, the second one is the request.
#[test]
fn whichever_answer_is_lost_a_request_with_a_key_runs_once() {
    for (nth, told) in [(1, ErrorCode::Unavailable), (2, ErrorCode::OutcomeUnknown)] {
        let bench = Bench::new();
        let request = put(&bench, &cas(0, 1), "k");
        lose_answer(&bench, nth);
        assert_eq!(code(bench.send(&request)), told, "{nth}");
        let data = bench.send(&request).unwrap().data.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&data).unwrap()["version"], 1);
        assert_eq!(current_version(&bench), 1);
        bench.send(&request).unwrap();
        assert_eq!(current_version(&bench), 1);
    }
}

#[test]
fn a_key_stands_for_one_request() {
    let bench = Bench::new();
    let body = json!({"data": {"value": 1}});
    bench.send(&put(&bench, &body, "k")).unwrap();
    let others = [
        put(&bench, &json!({"data": {"value": 2}}), "k"),
        keyed(&bench, Operation::Write, "secret/data/other", &body, "k"),
        keyed(&bench, Operation::Delete, "secret/data/app", &body, "k"),
        keyed(&bench, Operation::Patch, "secret/data/app", &body, "k"),
    ];
    for other in others {
        let refusal = bench.send(&other).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::Conflict);
        assert!(refusal.message.contains("use a new key"), "{}", refusal.message);
    }
    assert_eq!(current_version(&bench), 1);
    assert_eq!(code(bench.read("secret/data/other")), ErrorCode::NotFound);
}

#[test]
fn a_key_tells_nothing_to_another_token() {
    let bench = Bench::new();
    let create = keyed(&bench, Operation::Write, "auth/token/create", &json!({}), "k");
    let auth = bench.send(&create).unwrap().auth.unwrap();
    assert_eq!(bench.send(&create).unwrap().auth.as_ref(), Some(&auth), "the same token");
    let auth: Value = serde_json::from_slice(&auth).unwrap();
    let text = auth["client_token"].as_str().unwrap();
    let disk = bench.ledger.all_bytes();
    assert!(!disk.windows(text.len()).any(|part| part == text.as_bytes()), "it is kept sealed");

    // Neither the answer nor that there was one: not even another body is a conflict.
    for body in [json!({}), json!({"policies": ["default"]})] {
        let theirs = keyed(&bench, Operation::Write, "auth/token/create", &body, "k");
        let theirs = Request { token: Some(Token::new(text.to_owned())), ..theirs };
        if body == json!({}) {
            let made: Value =
                serde_json::from_slice(&bench.send(&theirs).unwrap().auth.unwrap()).unwrap();
            assert_ne!(made["client_token"], text);
        } else {
            assert_eq!(code(bench.send(&theirs)), ErrorCode::Conflict, "now it is theirs as well");
        }
    }
}

#[test]
fn a_refusal_of_a_request_with_a_key_stays_and_a_fault_does_not() {
    let bench = Bench::new();
    let request = put(&bench, &cas(1, 1), "k");
    bench.ledger.faults.lock().unwrap().commit = Some(LedgerError::Unavailable);
    assert_eq!(code(bench.send(&request)), ErrorCode::Unavailable);
    assert_eq!(code(bench.send(&request)), ErrorCode::CasMismatch);
    bench.write("secret/data/app", &cas(0, 1)).unwrap();
    assert_eq!(code(bench.send(&request)), ErrorCode::CasMismatch);
    assert_eq!(current_version(&bench), 1);
}

#[test]
fn a_key_lives_two_minutes_after_it_was_sent_last() {
    let bench = Bench::new();
    let request = put(&bench, &json!({"data": {"value": 1}}), "k");
    for _ in 0..3 {
        bench.send(&request).unwrap();
        bench.ledger.now_ms.fetch_add(119_000, Ordering::Relaxed);
    }
    assert_eq!(current_version(&bench), 1);
    bench.ledger.now_ms.fetch_add(2_000, Ordering::Relaxed);
    bench.send(&request).unwrap();
    assert_eq!(current_version(&bench), 2);
    bench.ledger.now_ms.fetch_add(121_000, Ordering::Relaxed);
    bench.write("secret/data/app", &json!({"data": {}})).unwrap();
    assert_eq!(bench.ledger.session_count(), 0, "nothing is left of it");
}

/// What a caller may make the cluster keep is bounded, and no caller can take it from another.
#[test]
fn keys_of_a_token_are_bounded() {
    let bench = Bench::new();
    let send = |number: usize| {
        bench.send(&put(&bench, &json!({"data": {"value": number}}), &format!("k-{number}")))
    };
    let full = (0..10_000).find_map(|number| send(number).err()).unwrap();
    assert_eq!(full.code, ErrorCode::Busy);
    assert!(full.message.contains("nothing was executed"), "{}", full.message);
    let kept = bench.ledger.session_count();
    assert!(kept <= 32 * SESSIONS_MAX, "{kept}");
    assert_eq!(current_version(&bench), kept, "one for each key that was taken");

    bench.send(&put(&bench, &json!({"data": {"value": 0}}), "k-0")).unwrap();
    assert_eq!(current_version(&bench), kept, "none is forgotten early");
    bench.open_session();
    let other: Value = serde_json::from_slice(
        &bench
            .send(&bench.request(Operation::Write, "auth/token/create", b"{}"))
            .unwrap()
            .auth
            .unwrap(),
    )
    .unwrap();
    let token = Some(Token::new(other["client_token"].as_str().unwrap().to_owned()));
    let theirs = put(&bench, &json!({"data": {"value": 0}}), "k-0");
    bench.send(&Request { token, ..theirs }).unwrap();
    assert_eq!(current_version(&bench), kept + 1);
}

#[test]
fn keys_that_nothing_would_keep_are_refused_and_reads_have_none() {
    let bench = Bench::new();
    let request = put(&bench, &json!({"data": {}}), "k");
    let refusal = bench.send(&Request { token: None, ..request }).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidRequest);
    assert!(refusal.message.contains("kept for a token"), "{}", refusal.message);

    let acts = keyed(&bench, Operation::Write, "sys/step-down", &json!({}), "k");
    let refusal = bench.send(&acts).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidRequest);
    assert!(refusal.message.contains("keeps no Idempotency-Key"), "{}", refusal.message);

    let stranger = Some(Token::new("hvs.nobody".to_owned()));
    let request = put(&bench, &json!({"data": {}}), "k");
    let answer = bench.send(&Request { token: stranger, ..request });
    assert_eq!(code(answer), ErrorCode::PermissionDenied);
    bench.write("secret/data/app", &json!({"data": {}})).unwrap();
    bench.send(&keyed(&bench, Operation::Read, "secret/data/app", &json!({}), "k")).unwrap();
    let asks = json!({"paths": ["secret/data/app"]});
    bench.send(&keyed(&bench, Operation::Write, "sys/capabilities-self", &asks, "k")).unwrap();
    assert_eq!(bench.ledger.session_count(), 0, "none of them made the cluster keep anything");
}

#[test]
fn a_key_is_a_short_visible_text() {
    let longest = "k".repeat(255);
    for text in ["k", "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", &longest] {
        assert_eq!(IdempotencyKey::new(text).unwrap().as_str(), text);
    }
    let too_long = "k".repeat(256);
    for text in ["", " ", "a b", "a\tb", "é", "a\u{7f}", &too_long] {
        let refusal = IdempotencyKey::new(text).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidRequest);
        assert!(refusal.message.contains("1 to 255 visible"), "{}", refusal.message);
    }
}

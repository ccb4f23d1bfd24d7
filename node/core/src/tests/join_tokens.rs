use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::ErrorCode;
use crate::testing::{Bench, code, finish};

fn create(bench: &Bench, body: &Value) -> (Value, Value) {
    let answer = bench.write("sys/storage/raft/join-token", body).unwrap();
    let text = URL_SAFE_NO_PAD.decode(answer["token"].as_str().unwrap()).unwrap();
    let token = serde_json::from_slice(&text).unwrap();
    (answer, token)
}

#[test]
fn a_join_token_says_where_to_go_and_what_to_prove() {
    let bench = Bench::new();
    let (answer, token) = create(&bench, &json!({"ttl": "1m"}));
    assert_eq!((&answer["ttl"], &answer["ttl_ms"]), (&json!(60), &json!(60_000)));
    assert_eq!(token["v"], 1);
    assert_eq!(token["addrs"], json!(["127.0.0.1:8201", "127.0.0.2:8201"]));
    let id = hex::decode(token["id"].as_str().unwrap()).unwrap();
    let secret = hex::decode(token["secret"].as_str().unwrap()).unwrap();
    assert_eq!(*finish(bench.core.join_token_secret(&id)).unwrap(), secret);
}

#[test]
fn a_join_token_lives_ten_minutes_at_most() {
    let bench = Bench::new();
    for body in [json!({}), json!({"ttl": 0}), json!({"ttl_ms": 0})] {
        assert_eq!(create(&bench, &body).0["ttl"], 600);
    }
    for body in [json!({"ttl": "11m"}), json!({"ttl_ms": u64::MAX}), json!({"ttl": 1, "ttl_ms": 1})]
    {
        let answer = bench.write("sys/storage/raft/join-token", &body);
        assert_eq!(code(answer), ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_join_token_is_used_once() {
    let bench = Bench::new();
    let token = finish(bench.core.create_join_token(Duration::from_secs(60))).unwrap();
    finish(bench.core.consume_join_token(&token.id)).unwrap();
    let again = finish(bench.core.consume_join_token(&token.id));
    assert_eq!(code(again), ErrorCode::PermissionDenied);
    assert_eq!(code(finish(bench.core.join_token_secret(&token.id))), ErrorCode::PermissionDenied);
}

#[test]
fn of_two_that_race_for_a_join_token_one_wins() {
    let bench = Bench::new();
    let token = finish(bench.core.create_join_token(Duration::from_secs(60))).unwrap();
    let core = Arc::clone(&bench.core);
    let id = token.id;
    *bench.ledger.before_commit.lock().unwrap() = Some(Box::new(move || {
        let _ = finish(core.consume_join_token(&id));
    }));
    let loser = finish(bench.core.consume_join_token(&token.id));
    assert_eq!(code(loser), ErrorCode::PermissionDenied);
}

#[test]
fn a_join_token_ends_by_the_leaders_time() {
    let bench = Bench::new();
    let token = finish(bench.core.create_join_token(Duration::from_secs(60))).unwrap();
    bench.ledger.now_ms.fetch_add(59_999, Ordering::Relaxed);
    finish(bench.core.join_token_secret(&token.id)).unwrap();
    bench.ledger.now_ms.fetch_add(1, Ordering::Relaxed);
    assert_eq!(code(finish(bench.core.join_token_secret(&token.id))), ErrorCode::PermissionDenied);
    assert_eq!(code(finish(bench.core.consume_join_token(&token.id))), ErrorCode::PermissionDenied);
}

/// A backup may hold a token that was used after it was made.
#[test]
fn a_join_token_does_not_outlive_a_restore() {
    let bench = Bench::new();
    let token = finish(bench.core.create_join_token(Duration::from_secs(60))).unwrap();
    bench.ledger.restore();
    assert_eq!(code(finish(bench.core.join_token_secret(&token.id))), ErrorCode::PermissionDenied);
    assert_eq!(code(finish(bench.core.consume_join_token(&token.id))), ErrorCode::PermissionDenied);
    let token = finish(bench.core.create_join_token(Duration::from_secs(60))).unwrap();
    finish(bench.core.consume_join_token(&token.id)).unwrap();
}

#[test]
fn unknown_ids_are_refused() {
    let bench = Bench::new();
    for id in [&b""[..], b"x", &[0; 16], &[0; 100_000]] {
        let answer = finish(bench.core.join_token_secret(id));
        assert_eq!(code(answer), ErrorCode::PermissionDenied);
    }
}

#[test]
fn the_cluster_keeps_secrets_of_its_own() {
    let bench = Bench::new();
    assert_eq!(bench.core.cluster_secret("ca").unwrap().unwrap().as_slice(), b"ca key");
    assert!(bench.core.cluster_secret("other").unwrap().is_none());
    let bytes = zeroize::Zeroizing::new(b"new".to_vec());
    finish(bench.core.put_cluster_secret("ca", &bytes)).unwrap();
    assert_eq!(bench.core.cluster_secret("ca").unwrap().unwrap().as_slice(), b"new");
}

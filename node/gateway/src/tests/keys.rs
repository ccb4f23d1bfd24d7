//! `Idempotency-Key` at the HTTP door.

use std::sync::atomic::Ordering;

use super::support::{Bench, body, status};

#[tokio::test(start_paused = true)]
async fn a_key_goes_along_with_what_changes_something() {
    let bench = Bench::new();
    let patch = "content-type: application/merge-patch+json\n";
    for (method, more) in [("PUT", ""), ("POST", ""), ("DELETE", ""), ("PATCH", patch)] {
        for key in ["k-1", "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", &"k".repeat(255)] {
            let headers = format!("{more}idempotency-key: {key}");
            let answer = bench.ask(&format!("{method} /v1/echo/a"), &headers, "{}").await;
            assert_eq!(status(&answer), 200, "{answer}");
            let told: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
            assert_eq!(told["data"]["key"], key, "{method}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reads_have_no_key() {
    let bench = Bench::new();
    for line in ["GET /v1/echo/a", "LIST /v1/echo/a", "SCAN /v1/echo/a", "GET /v1/echo/a?list=1"] {
        for key in ["k", "", "a b"] {
            let answer = bench.ask(line, &format!("idempotency-key: {key}"), "").await;
            assert_eq!(status(&answer), 200, "{answer}");
            let told: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
            assert_eq!(told["data"].get("key"), None, "{line}");
        }
    }
    assert_eq!(bench.status_of("GET /v1/sys/health", "idempotency-key: k", "").await, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_is_refused() {
    let bench = Bench::new();
    let long = "k".repeat(256);
    for headers in ["", "a b", "a\tb", "é", &long, "a\nidempotency-key: b", "a\nidempotency-key: a"]
    {
        let headers = format!("idempotency-key: {headers}");
        assert_eq!(bench.status_of("POST /v1/echo/a", &headers, "{}").await, 400, "{headers}");
    }
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 0);
}

/// What the node does by itself is remembered nowhere, and who sends a key relies on it.
#[tokio::test(start_paused = true)]
async fn no_key_is_taken_where_none_is_kept() {
    let bench = Bench::new();
    for path in [
        "sys/init",
        "sys/unseal",
        "sys/storage/raft/join",
        "sys/storage/raft/snapshot",
        "sys/storage/raft/snapshot-force",
    ] {
        let headers = "x-vault-token: t\nidempotency-key: k";
        let answer = bench.ask(&format!("POST /v1/{path}"), headers, "{}").await;
        assert_eq!(status(&answer), 400, "{answer}");
        assert!(answer.contains("keeps no Idempotency-Key"), "{answer}");
    }
    assert!(bench.fake.ceremonies.lock().unwrap().is_empty());
}

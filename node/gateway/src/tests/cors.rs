//! Calls from web pages of other origins.

use std::sync::atomic::Ordering;

use super::support::{Bench, body, status};

const ASKS: &str = "origin: https://ui.example\naccess-control-request-method: LIST";

fn with_rules(origin: &'static str) -> Bench {
    let bench = Bench::new();
    *bench.fake.origin.lock().unwrap() = Some(origin);
    bench
}

#[tokio::test(start_paused = true)]
async fn pages_of_named_origins_may_call() {
    let bench = with_rules("https://ui.example");
    for path in ["secret/data/app", "sys/health", "sys/unseal", "sys/storage/raft/snapshot"] {
        let answer = bench.ask(&format!("OPTIONS /v1/{path}"), ASKS, "").await;
        assert_eq!((status(&answer), body(&answer)), (204, ""), "{path}");
        for header in [
            "access-control-allow-origin: https://ui.example",
            "access-control-allow-methods: DELETE,GET,OPTIONS,POST,PUT,LIST,PATCH,SCAN",
            "access-control-allow-headers: Content-Type,X-Vault-Token",
            "access-control-max-age: 300",
            "vary: Origin",
        ] {
            assert!(answer.contains(&format!("\r\n{header}\r\n")), "{header}: {answer}");
        }
    }
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 0);
    assert!(bench.fake.ceremonies.lock().unwrap().is_empty(), "it only asked");
    for (line, expected) in [
        ("GET /v1/secret/data/app", 200),
        ("GET /v1/sys/leader", 200),
        ("GET /v1/nothing", 404),
        ("GET /v1/a//b", 400),
        ("DELETE /v1/sys/health", 405),
    ] {
        let answer = bench.ask(line, "origin: https://ui.example", "").await;
        assert_eq!(status(&answer), expected, "{line}");
        assert!(
            answer.contains("\r\naccess-control-allow-origin: https://ui.example\r\n"),
            "{line}"
        );
        assert!(answer.contains("\r\nvary: Origin\r\n"), "{line}");
        assert!(!answer.contains("access-control-allow-methods"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_origins_reach_nothing() {
    let bench = with_rules("https://ui.example");
    for origin in
        ["https://evil.example", "null", "HTTPS://ui.example", "https://ui.example.evil", "é"]
    {
        for line in
            ["GET /v1/echo/a", "POST /v1/echo/a", "OPTIONS /v1/echo/a", "GET /v1/sys/health"]
        {
            let answer = bench.ask(line, &format!("origin: {origin}"), "").await;
            assert_eq!(status(&answer), 403, "{line} {origin}");
            assert_eq!(body(&answer), "{\"errors\":[\"origin not allowed\"]}\n");
            assert!(answer.contains("\r\nvary: Origin\r\n"), "{answer}");
            assert!(!answer.contains("access-control-"), "{answer}");
        }
    }
    let twice = "origin: https://ui.example\norigin: https://ui.example";
    assert_eq!(bench.status_of("GET /v1/echo/a", twice, "").await, 403);
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_browser_may_ask_for_real_methods_alone() {
    let bench = with_rules("*");
    for (method, expected) in [("PATCH", 204), ("SCAN", 204), ("TRACE", 405), ("list", 405)] {
        let headers = format!("origin: https://a\naccess-control-request-method: {method}");
        assert_eq!(bench.status_of("OPTIONS /v1/echo/a", &headers, "").await, expected, "{method}");
    }
    assert_eq!(bench.status_of("OPTIONS /v1/echo/a", "origin: https://a", "").await, 405);
    let twice = "origin: https://a\norigin: https://b";
    assert_eq!(bench.status_of("GET /v1/echo/a", twice, "").await, 403, "not even with *");
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn without_rules_or_an_origin_nothing_is_different() {
    let bench = Bench::new();
    for line in ["GET /v1/echo/a", "OPTIONS /v1/echo/a", "GET /v1/sys/health", "GET /v2"] {
        let plain = bench.ask(line, "", "").await;
        assert_eq!(bench.ask(line, ASKS, "").await, plain, "{line}");
        assert!(!plain.contains("vary"), "{plain}");
    }
    let with_rules = with_rules("https://ui.example");
    for line in ["GET /v1/echo/a", "OPTIONS /v1/echo/a", "GET /v1/sys/health"] {
        for headers in ["", "origin:"] {
            let told = with_rules.ask(line, headers, "").await;
            assert_eq!(told, bench.ask(line, "", "").await, "{line}");
        }
    }
}

/// A flood of questions is a flood.
#[tokio::test(start_paused = true)]
async fn rate_quotas_count_them_too() {
    let bench = with_rules("https://ui.example");
    assert_eq!(bench.status_of("OPTIONS /v1/paced/a", ASKS, "").await, 204);
    let refused = bench.ask("OPTIONS /v1/paced/a", ASKS, "").await;
    assert_eq!(status(&refused), 429);
    assert!(refused.contains("access-control-allow-origin: https://ui.example"), "{refused}");
}

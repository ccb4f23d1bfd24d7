//! Paths as they stand on the wire.

use std::sync::atomic::Ordering;

use super::support::{Bench, Transcript, status};

#[tokio::test(start_paused = true)]
async fn unclean_paths_are_refused_before_anybody_is_asked() {
    let bench = Bench::new();
    let mut script = Transcript::default();
    for path in [
        "/v1/kv/metadata/a/../b",
        "/v1/kv/metadata/a/%2e%2e/b",
        "/v1/kv/metadata/a/..%2fb",
        "/v1/kv/metadata/a/%252e%252e/b",
        r"/v1/kv/metadata/a/\..\b",
        "/v1/kv/metadata/a/..",
        "/v1/kv/./a",
        "/v1//sys/health",
        "//v1/sys/health",
        "/v1/kv//data/x",
        "/v1/a%2Fb",
        "/v1/a%00b",
        "/v1/%0d%0a",
        "/v1/%ff",
        "/v1/%zz",
        "/../v1/sys/health",
        "/v1/sys/../sys/health",
    ] {
        script.ask(&bench, &format!("GET {path}"), "x-vault-token: t", "").await;
    }
    script.check("paths");
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_target_is_still_answered() {
    let bench = Bench::new();
    for line in ["GET /v1/a b", "GET /v1/a\u{1}", "GET v1/a", "CONNECT a:1", "GET *", "OPTIONS *"] {
        let status = status(&bench.talk(format!("{line} HTTP/1.1\r\nhost: c\r\n\r\n")).await);
        assert!((400..500).contains(&status), "{line}: {status}");
    }
    let long = format!("GET /v1/{}", "a".repeat(70_000));
    let status = bench.status_of(&long, "", "").await;
    assert!(status == 414 || status == 431, "{status}");
}

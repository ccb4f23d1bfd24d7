//! Every way to be refused.

use std::sync::atomic::Ordering;

use super::support::{ALL_CODES, Bench, Transcript, body, request, status};

#[tokio::test(start_paused = true)]
async fn every_error_of_the_core_has_its_status() {
    let bench = Bench::new();
    let mut script = Transcript::default();
    for code in ALL_CODES {
        script.ask(&bench, &format!("GET /v1/errors/{code:?}"), "", "").await;
        script.ask(&bench, &format!("GET /v1/errors/{code:?}/silent"), "", "").await;
    }
    script.check("errors");
}

#[tokio::test(start_paused = true)]
async fn wrong_methods_and_media_are_refused_by_name() {
    let bench = Bench::new();
    for line in [
        "OPTIONS /v1/echo/a",
        "OPTIONS /v1/sys/health",
        "HEAD /v1/echo/a",
        "TRACE /v1/echo/a",
        "PUT /v1/sys/health",
        "POST /v1/sys/leader",
        "DELETE /v1/sys/seal-status",
        "DELETE /v1/sys/init",
        "GET /v1/sys/unseal",
        "GET /v1/sys/storage/raft/join",
        "POST /v1/sys/metrics",
    ] {
        assert_eq!(bench.status_of(line, "", "").await, 405, "{line}");
    }
    for headers in ["", "content-type: application/json"] {
        assert_eq!(bench.status_of("PATCH /v1/echo/a", headers, "{}").await, 415);
    }
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn unknown_places_are_404_without_a_redirect() {
    let bench = Bench::new();
    for line in ["GET /", "GET /v1", "GET /ui/", "GET /v2/secret", "GET /v1/nothing/here"] {
        let answer = bench.ask(line, "", "").await;
        assert_eq!((status(&answer), body(&answer)), (404, "{\"errors\":[]}\n"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_that_can_be_read_in_two_ways_are_refused() {
    let bench = Bench::new();
    for headers in [
        "x-vault-token: a\nx-vault-token: b",
        "authorization: Bearer a\nauthorization: Bearer b",
        "x-vault-namespace: a\nx-vault-namespace: b",
        "x-conclave-revision: -1",
        "x-vault-index: v2:abc",
        "content-encoding: identity\ncontent-encoding: gzip",
    ] {
        assert_eq!(bench.status_of("GET /v1/echo/a", headers, "").await, 400, "{headers}");
    }
    for line in ["GET /v1/echo/a?x=1&x=2", "GET /v1/echo/a?x=%zz", "GET /v1/echo/a?list=maybe"] {
        assert_eq!(bench.status_of(line, "", "").await, 400, "{line}");
    }
    let token = format!("x-vault-token: {}", "t".repeat(9 << 10));
    assert_eq!(bench.status_of("GET /v1/echo/a", &token, "").await, 431);
    assert_eq!(bench.status_of("GET /v1/sys/health", "x-vault-namespace: team", "").await, 400);
    assert_eq!(bench.status_of("GET /v1/sys/health", "x-vault-namespace: root", "").await, 200);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_wrapped_answer_never_sees_the_bare_one() {
    let bench = Bench::new();
    for (ttl, expected) in [("60", 400), ("5m", 400), ("x", 400), ("0", 200), ("", 200)] {
        let header = format!("x-vault-wrap-ttl: {ttl}");
        assert_eq!(bench.status_of("GET /v1/echo/a", &header, "").await, expected, "{ttl}");
    }
}

/// Clients look for `warnings` in the body of a 404 before they say "not found".
#[tokio::test(start_paused = true)]
async fn a_hint_about_a_path_is_a_warning() {
    let bench = Bench::new();
    let answer = bench.ask("GET /v1/secret/app", "", "").await;
    assert_eq!(status(&answer), 404);
    assert!(answer.contains("\"data\":null"), "{answer}");
    assert!(answer.contains("\"warnings\":[\"put 'data/' between mount and name\"]"), "{answer}");
    assert!(!answer.contains("\"errors\""), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn row_055_wrong_types_never_make_a_server_error() {
    let bench = Bench::new();
    let values = ["null", "-1", "1.5", "true", "[]", "{}", "99999999999999999999", "\"\""];
    let fields = [
        ("sys/init", "secret_shares"),
        ("sys/init", "secret_threshold"),
        ("sys/init", "pgp_keys"),
        ("sys/init", "root_token_pgp_key"),
        ("sys/unseal", "key"),
        ("sys/unseal", "reset"),
        ("sys/storage/raft/join", "join_token"),
        ("sys/storage/raft/join", "leader_cluster_addr"),
        ("sys/storage/raft/join", "non_voter"),
    ];
    for (path, field) in fields {
        for value in values {
            let body = format!("{{\"{field}\":{value}}}");
            let status = bench.status_of(&format!("PUT /v1/{path}"), "", &body).await;
            assert!(status == 200 || status == 400, "{path} {body}: {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_071_no_refusal_quotes_what_was_sent() {
    let bench = Bench::new();
    for (line, headers, sent) in [
        ("PUT /v1/sys/unseal", "", r#"{"key":"canary"}"#),
        ("PUT /v1/sys/unseal", "", r#"{"key":["canary"]}"#),
        ("PUT /v1/sys/init", "", r#"{"secret_shares":"canary"}"#),
        ("PUT /v1/echo/a", "", r#"{"password":canary}"#),
        ("PUT /v1/echo/a", "", r#"{"canary":1,"canary":2}"#),
        ("GET /v1/a//canary", "", ""),
        ("GET /v1/a?canary=1&canary=2", "", ""),
        ("GET /v1/a", "x-conclave-revision: canary", ""),
    ] {
        let answer = bench.ask(line, headers, sent).await;
        assert_eq!(status(&answer), 400, "{line}");
        assert!(!answer.contains("canary"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_108_a_message_with_two_lengths_is_refused_or_ends_its_connection() {
    let bench = Bench::new();
    let smuggled = "GET /v1/echo/smuggled HTTP/1.1\r\nhost: conclave\r\n\r\n";
    let head = "POST /v1/echo/a HTTP/1.1\r\nhost: conclave\r\n";
    for lengths in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2\r\ncontent-length: 2\r\n",
        "content-length: 2, 3\r\n",
        "content-length: +2\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "content-length : 2\r\n",
        "x: a\r\n folded: b\r\n",
        "x: a\n",
    ] {
        let answer = bench.talk(format!("{head}{lengths}\r\n{{}}{smuggled}")).await;
        assert_eq!(status(&answer), 400, "{lengths}");
        assert!(!answer.contains("smuggled"), "{answer}");
    }
    for lengths in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let answer = bench.talk(format!("{head}{lengths}\r\n0\r\n\r\n{smuggled}")).await;
        assert_eq!(status(&answer), 400, "{lengths}");
        assert!(!answer.contains("smuggled"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_answer_and_the_node_serves_on() {
    let bench = Bench::new();
    let two = request("GET /v1/panic", "", "") + &request("PUT /v1/panic", "", "{}");
    let answers = bench.talk(two + &request("GET /v1/sys/health", "", "")).await;
    assert_eq!(answers.matches("HTTP/1.1 500").count(), 2, "{answers}");
    assert!(answers.contains("HTTP/1.1 200"), "{answers}");
    assert!(!answers.contains("the fake panics"), "{answers}");
}

//! Every route, as transcripts.

use super::support::{Bench, Transcript, body, status};

#[tokio::test(start_paused = true)]
async fn logical_routes_answer_in_the_envelope() {
    let bench = Bench::new();
    let mut script = Transcript::default();
    let token = "x-vault-token: hvs.t";
    script.ask(&bench, "GET /v1/secret/data/app", token, "").await;
    script.ask(&bench, "PUT /v1/secret/data/app", token, r#"{"data":{"a":"b"}}"#).await;
    script.ask(&bench, "DELETE /v1/secret/data/app", token, "").await;
    script.ask(&bench, "LIST /v1/secret/metadata", token, "").await;
    script.ask(&bench, "GET /v1/secret/metadata/?list=true", token, "").await;
    script.ask(&bench, "GET /v1/secret/data/missing", token, "").await;
    script.ask(&bench, "GET /v1/secret/data/deleted", token, "").await;
    script.ask(&bench, "POST /v1/warn/me", token, "{}").await;
    script.ask(&bench, "GET /v1/sys/mounts", token, "").await;
    script.ask(&bench, "PUT /v1/sys/seal", token, "").await;
    script.ask(&bench, "GET /v1/sys/metrics?format=prometheus", token, "").await;
    script.check("logical");
}

#[tokio::test(start_paused = true)]
async fn the_core_is_asked_what_the_caller_said() {
    let bench = Bench::new();
    let mut script = Transcript::default();
    let both = "x-vault-token: first\nauthorization: Bearer second";
    script.ask(&bench, "GET /v1/echo/a%20b%C3%A9?version=2&x=%2f+y", both, "").await;
    script.ask(&bench, "GET /v1/echo/a", "authorization: bearer second", "").await;
    script.ask(&bench, "GET /v1/echo/a", "authorization: Basic eDp5\nx-vault-token:", "").await;
    let namespace = "x-vault-namespace: team/\nx-vault-request: true";
    script.ask(&bench, "POST /v1/echo/a?ignored=1", namespace, r#"{"a":1}"#).await;
    script.ask(&bench, "GET /v1/echo/a", "x-vault-namespace:\nx-conclave-revision: 9", "").await;
    script.ask(&bench, "GET /v1/echo/a", "x-vault-index: 10", "ignored").await;
    let patch = "content-type: application/merge-patch+json; charset=utf-8";
    script.ask(&bench, "PATCH /v1/echo/a", patch, r#"{"a":null}"#).await;
    let forwarded =
        "x-forwarded-for: 10.0.0.1\nforwarded: for=10.0.0.1\nx-http-method-override: DELETE";
    script.ask(&bench, "GET /v1/echo/a", forwarded, "").await;
    script.ask(&bench, "GET https://conclave/v1/echo/absolute", "", "").await;
    script.check("translation");
}

/// Clients look for `help` and `openapi` at the top, and so does whoever makes clients of the
/// document about all paths.
#[tokio::test(start_paused = true)]
async fn help_and_the_document_stand_in_no_envelope() {
    let bench = Bench::new();
    let help = "{\"help\":\"Helps.\",\"see_also\":null,\"openapi\":{}}\n";
    // Also where the node answers by itself, streams, or lists.
    for asked in [
        "GET /v1/secret/data/app?help=1",
        "GET /v1/secret/metadata?help=1&list=true",
        "HELP /v1/secret/data/app",
        "GET /v1/sys/mounts?help=true",
        "GET /v1/sys/init?help=1",
        "GET /v1/sys/health?help=1",
        "GET /v1/sys/metrics?help=1",
        "GET /v1/sys/storage/raft/snapshot?help=1",
        "GET /v1/sys/generate-root/attempt?help=1",
    ] {
        let answer = bench.ask(asked, "x-vault-token: hvs.t", "").await;
        assert_eq!((status(&answer), body(&answer)), (200, help), "{asked}");
    }
    for asked in ["GET /v1/sys/internal/specs/openapi", "POST /v1/sys/internal/specs/openapi"] {
        let answer = bench.ask(asked, "", "").await;
        assert_eq!((status(&answer), body(&answer)), (200, "{\"openapi\":\"3.0.2\"}\n"), "{asked}");
    }
    let answer = bench.ask("GET /v1/sys/init?help=", "", "").await;
    assert!(body(&answer).contains("initialized"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn put_is_post_and_list_is_get_with_list() {
    let bench = Bench::new();
    for (one, other) in [
        ("PUT /v1/echo/a", "POST /v1/echo/a"),
        ("LIST /v1/echo/a", "GET /v1/echo/a?list=true"),
        ("LIST /v1/echo/a", "GET /v1/echo/a?list=True"),
        ("LIST /v1/echo/a", "GET /v1/echo/a?list=1"),
        ("LIST /v1/echo/a", "LIST /v1/echo/a?list=true"),
        ("GET /v1/echo/a", "GET /v1/echo/a?list=false"),
    ] {
        let (one, other) = (bench.ask(one, "", "").await, bench.ask(other, "", "").await);
        assert_eq!(one, other);
        assert_eq!(status(&one), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn the_node_speaks_for_itself_outside_the_envelope() {
    let bench = Bench::new();
    let mut script = Transcript::default();
    script.ask(&bench, "GET /v1/sys/health", "", "").await;
    script.ask(&bench, "HEAD /v1/sys/health", "", "").await;
    script.ask(&bench, "GET /v1/sys/seal-status", "", "").await;
    script.ask(&bench, "GET /v1/sys/leader", "", "").await;
    script.ask(&bench, "GET /v1/sys/init", "", "").await;
    let shares = r#"{"secret_shares":5,"secret_threshold":"3","pgp_keys":null}"#;
    script.ask(&bench, "PUT /v1/sys/init", "", shares).await;
    script.ask(&bench, "PUT /v1/sys/init", "", r#"{"secret_shares":1,"secret_threshold":2}"#).await;
    script.ask(&bench, "PUT /v1/sys/init", "", r#"{"secret_shares":300}"#).await;
    script.ask(&bench, "PUT /v1/sys/init", "", r#"{"pgp_keys":["canary"]}"#).await;
    script.ask(&bench, "PUT /v1/sys/unseal", "", r#"{"key":"0102FF"}"#).await;
    script.ask(&bench, "POST /v1/sys/unseal", "", r#"{"key":"AQL/","migrate":false}"#).await;
    script.ask(&bench, "PUT /v1/sys/unseal", "", r#"{"reset":"true"}"#).await;
    script.ask(&bench, "PUT /v1/sys/unseal", "", r#"{"key":"canary!"}"#).await;
    script.ask(&bench, "PUT /v1/sys/unseal", "", "").await;
    let join =
        r#"{"join_token":"jt","leader_cluster_addr":"two:8201","non_voter":true,"retry":true}"#;
    script.ask(&bench, "POST /v1/sys/storage/raft/join", "", join).await;
    for url in ["https://two:8200", "https://[::1]/", "two:8200", "https://two:65535"] {
        let join = format!(r#"{{"leader_api_addr":"{url}","leader_ca_cert":"pem"}}"#);
        script.ask(&bench, "POST /v1/sys/storage/raft/join", "", &join).await;
    }
    script.check("node");
    let told = bench.fake.ceremonies.lock().unwrap().join("\n");
    assert_eq!(
        told,
        "init 5 3\ninit 1 2\nunseal [1, 2, 255] false\nunseal [1, 2, 255] false\nunseal [] true\n\
         join Some(\"two:8201\") Some(\"jt\") true\njoin Some(\"two:8201\") None false\n\
         join Some(\"[::1]:8201\") None false"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_no_part_says_why() {
    let bench = Bench::new();
    bench.fake.set(|status| {
        (status.sealed, status.quarantined, status.leader_id) = (true, true, 0);
        status.reason = "the cluster goes on without this node: rejoin it".into();
    });
    let mut script = Transcript::default();
    script.ask(&bench, "GET /v1/sys/health", "", "").await;
    script.ask(&bench, "GET /v1/sys/health?sealedcode=200", "", "").await;
    script.ask(&bench, "GET /v1/sys/seal-status", "", "").await;
    script.check("out");
}

#[tokio::test(start_paused = true)]
async fn health_codes_tell_every_state_and_can_be_chosen() {
    let bench = Bench::new();
    let health =
        async |query: &str| bench.status_of(&format!("GET /v1/sys/health{query}"), "", "").await;
    assert_eq!(health("").await, 200);
    assert_eq!(health("?activecode=204").await, 204);
    assert_eq!(health("?standbycode=299").await, 200);
    bench.fake.set(|status| status.leader_id = 2);
    assert_eq!(health("").await, 429);
    assert_eq!(health("?standbyok=true").await, 200);
    assert_eq!(health("?standbyok").await, 200);
    assert_eq!(health("?perfstandbyok=1&activecode=202").await, 202);
    assert_eq!(health("?standbyok=false&standbycode=299").await, 299);
    bench.fake.set(|status| status.leader_id = 0);
    assert_eq!(health("").await, 474);
    assert_eq!(health("?haunhealthycode=503").await, 503);
    for leader in [1, 2] {
        bench.fake.set(|status| (status.leader_id, status.has_quorum) = (leader, false));
        assert_eq!(health("?standbyok=true").await, 474);
        let answer = bench.ask("GET /v1/sys/leader", "", "").await;
        assert!(body(&answer).contains("\"is_self\":false"), "{answer}");
    }
    bench.fake.set(|status| status.quarantined = true);
    assert_eq!(health("").await, 503);
    bench.fake.set(|status| *status = crate::NodeStatus { sealed: true, ..status.clone() });
    assert_eq!(health("?sealedcode=204").await, 204);
    bench.fake.set(|status| status.initialized = false);
    assert_eq!(health("").await, 501);
    assert_eq!(health("?uninitcode=200").await, 200);
    for bad in ["?uninitcode=100", "?uninitcode=600", "?uninitcode=x", "?uninitcode=-1"] {
        assert_eq!(health(bad).await, 400, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_need_no_token_only_where_the_listener_says_so() {
    let bench = Bench::with(|config, _| config.unauthenticated_metrics = true);
    let answer = bench.ask("GET /v1/sys/metrics", "", "").await;
    assert_eq!(body(&answer), "open_metric 1\n");
    assert_eq!(bench.status_of("GET /v1/sys/metrics?format=xml", "", "").await, 400);
    assert_eq!(bench.fake.calls.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn row_101_nothing_is_cached_sniffed_or_sent_in_clear() {
    for tls in [true, false] {
        let bench = Bench::with(|config, _| config.tls = tls);
        for line in
            ["GET /v1/secret/data/app", "GET /", "GET /v1/a//b", "DELETE /v1/secret/data/app"]
        {
            let answer = bench.ask(line, "", "").await;
            assert!(answer.contains("\r\ncache-control: no-store\r\n"), "{answer}");
            assert!(answer.contains("\r\nx-content-type-options: nosniff\r\n"), "{answer}");
            assert_eq!(answer.contains("\r\nstrict-transport-security: "), tls, "{answer}");
            let json = answer.contains("\r\ncontent-type: application/json\r\n");
            assert_eq!(json, status(&answer) != 204, "{answer}");
        }
    }
}

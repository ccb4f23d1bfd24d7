//! Rate quotas at both doors.

use std::sync::atomic::Ordering;

use conclave_proto::v1;
use conclave_proto::v1::logical_client::LogicalClient;
use tonic::Code;

use super::grpc::wire;
use super::support::{Bench, body, status};

/// THREATS row 50: who asks too often is told before a byte of the body is read.
#[tokio::test(start_paused = true)]
async fn row_050_a_quota_is_asked_before_the_body_is_read() {
    let bench = Bench::new();
    assert_eq!(bench.status_of("POST /v1/paced/a", "", "{}").await, 404, "the first is served");
    let served = bench.fake.calls.load(Ordering::SeqCst);
    for length in ["1048576", "99999999"] {
        // The body never comes, and a reader of it would wait.
        let began = tokio::time::Instant::now();
        let head =
            format!("POST /v1/paced/a HTTP/1.1\r\nhost: c\r\ncontent-length: {length}\r\n\r\n");
        let answer = bench.talk(head).await;
        assert_eq!(status(&answer), 429, "{answer}");
        assert!(answer.contains("\r\nretry-after: 7\r\n"), "{answer}");
        assert!(!answer.contains("x-ratelimit"), "{answer}");
        assert_eq!(
            body(&answer).trim_end(),
            r#"{"errors":["request path \"paced/a\": rate limit quota exceeded"]}"#
        );
        assert!(began.elapsed().as_secs() < 1);
    }
    let malformed = bench.ask("POST /v1/paced/a", "x-vault-token: a", "{\"a\":").await;
    assert_eq!(status(&malformed), 429, "nor is it parsed");
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), served);
    assert_eq!(bench.status_of("POST /v1/echo/a", "", "{}").await, 200);
    assert_eq!(bench.status_of("GET /v1/sys/health", "", "").await, 200);
}

#[tokio::test(start_paused = true)]
async fn callers_are_told_where_they_stand() {
    let bench = Bench::new();
    for allowed in [true, false] {
        let answer = bench.ask("GET /v1/paced/shown", "", "").await;
        for header in ["limit: 1", "remaining: 0", "reset: 9"] {
            assert!(answer.contains(&format!("\r\nx-ratelimit-{header}\r\n")), "{answer}");
        }
        assert_eq!(status(&answer), if allowed { 404 } else { 429 });
        assert_eq!(answer.contains("\r\nretry-after: 7\r\n"), !allowed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_door_is_no_way_around() {
    let bench = Bench::new();
    let mut client = LogicalClient::new(wire(&bench).await);
    let ask = || v1::LogicalRequest {
        operation: v1::Operation::Read.into(),
        path: "paced/a".into(),
        ..v1::LogicalRequest::default()
    };
    assert_eq!(client.call(ask()).await.unwrap_err().code(), Code::NotFound);
    let refused = client.call(ask()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("rate limit quota exceeded"));
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_other_door_tells_where_callers_stand() {
    let bench = Bench::new();
    let mut client = LogicalClient::new(wire(&bench).await);
    let ask = |path: &str| v1::LogicalRequest {
        operation: v1::Operation::Read.into(),
        path: path.into(),
        ..v1::LogicalRequest::default()
    };
    for allowed in [true, false] {
        let status = client.call(ask("paced/shown")).await.unwrap_err();
        let figure = |name: &str| status.metadata().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(status.code(), if allowed { Code::NotFound } else { Code::ResourceExhausted });
        assert_eq!(figure("x-ratelimit-limit"), Some("1"));
        assert_eq!(figure("x-ratelimit-remaining"), Some("0"));
        assert_eq!(figure("x-ratelimit-reset"), Some("9"));
        assert_eq!(figure("retry-after"), if allowed { None } else { Some("7") });
    }
    let status = client.call(ask("paced/hidden")).await.unwrap_err();
    assert_eq!(status.metadata().get("retry-after").unwrap(), "7");
    assert!(status.metadata().get("x-ratelimit-limit").is_none());

    let served = client.call(ask("echo/a")).await.unwrap();
    assert!(served.metadata().get("x-ratelimit-limit").is_none());
    let other = Bench::new();
    let served = LogicalClient::new(wire(&other).await).call(ask("echo/paced/shown")).await;
    assert_eq!(served.unwrap().metadata().get("x-ratelimit-limit").unwrap(), "1");
    let busy = client.call(ask("errors/Busy")).await.unwrap_err();
    assert_eq!(busy.metadata().get("retry-after").unwrap(), "1");
}

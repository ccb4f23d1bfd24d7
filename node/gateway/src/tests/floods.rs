//! Too much, too slow, too long: what costs the caller more than it costs the node.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Bench, body, request, status};

#[tokio::test(start_paused = true)]
async fn row_048_a_huge_body_is_refused_early() {
    let bench = Bench::with(|config, _| config.request_bytes_max = 100_000);
    let announced = "POST /v1/echo/a HTTP/1.1\r\nhost: c\r\ncontent-length: 99999999\r\n\r\n";
    let answer = bench.talk(announced).await;
    assert_eq!(status(&answer), 413);
    assert!(body(&answer).contains("above 100000 bytes"), "{answer}");
    let mut endless =
        "POST /v1/echo/a HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..200 {
        endless += &format!("400\r\n{}\r\n", "x".repeat(0x400));
    }
    assert_eq!(status(&bench.talk(endless).await), 413);
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn row_048_all_bodies_together_have_a_budget_that_is_given_back() {
    let bench = Bench::with(|_, limits| limits.body_bytes_in_flight_max = 50_000);
    // Holds 40,000 bytes and never ends.
    let mut hog = bench.connect();
    let half = format!(
        "POST /v1/echo/a HTTP/1.1\r\nhost: c\r\ncontent-length: 50000\r\n\r\n{}",
        "x".repeat(40_000)
    );
    hog.write_all(half.as_bytes()).await.unwrap();
    settle().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(30_000));
    let answer = bench.ask("POST /v1/echo/a", "", &large).await;
    assert_eq!(status(&answer), 429);
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert_eq!(bench.status_of("POST /v1/echo/a", "", "{}").await, 200);
    drop(hog);
    settle().await;
    assert_eq!(bench.status_of("POST /v1/echo/a", "", &large).await, 200);
}

#[tokio::test(start_paused = true)]
async fn row_049_hostile_json_is_refused() {
    let bench = Bench::new();
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let wide = (0..100_000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",");
    for sent in [&deep, &format!("{{{wide}}}"), "[1]", "1", "{\"a\":1,\"a\":2}", "{", "a=b"] {
        let answer = bench.ask("POST /v1/echo/a", "", sent).await;
        assert_eq!(status(&answer), 400);
        assert!(
            body(&answer).starts_with("{\"errors\":[\"failed to parse JSON input: "),
            "{answer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn row_057_compressed_bodies_are_not_unpacked() {
    let bench = Bench::new();
    for encoding in ["gzip", "br", "deflate", "zstd", "gzip, identity"] {
        let headers = format!("content-encoding: {encoding}");
        assert_eq!(bench.status_of("POST /v1/echo/a", &headers, "{}").await, 415, "{encoding}");
    }
    assert_eq!(bench.status_of("POST /v1/echo/a", "content-encoding: identity", "{}").await, 200);
}

#[tokio::test(start_paused = true)]
async fn row_056_slow_heads_and_bodies_are_cut() {
    let bench = Bench::new();
    let began = tokio::time::Instant::now();
    for sent in ["", "G", "PRI * HT", "GET /v1/sys/health HTTP/1.1\r\nhost: "] {
        let mut slow = bench.connect();
        slow.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"));
    }
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    let mut slow = bench.connect();
    let head = "POST /v1/echo/a HTTP/1.1\r\nhost: c\r\ncontent-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test(start_paused = true)]
async fn row_056_a_second_head_that_trickles_is_cut_and_idling_is_not() {
    let bench = Bench::new();
    let mut stream = bench.connect();
    let ask = request("GET /v1/secret/data/app", "", "");
    let mut answer = vec![0; 4096];
    for _ in 0..3 {
        stream.write_all(ask.as_bytes()).await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    let began = tokio::time::Instant::now();
    stream.write_all(b"GET /v1").await.unwrap();
    assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn row_048_a_refused_body_is_read_to_its_end_so_that_the_answer_arrives() {
    let bench = Bench::with(|config, _| config.request_bytes_max = 100_000);
    let mut stream = bench.connect();
    let head = "POST /v1/echo/a HTTP/1.1\r\nhost: c\r\ncontent-length: 400000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Far more than the stream holds: it only fits if the other end goes on reading.
    stream.write_all(&vec![b'x'; 400_000]).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[tokio::test(start_paused = true)]
async fn large_heads_are_refused() {
    let bench = Bench::new();
    let long = format!("x-filler: {}", "x".repeat(100 << 10));
    assert_eq!(bench.status_of("GET /v1/sys/health", &long, "").await, 431);
    let many = "x: y\n".repeat(200);
    assert_eq!(bench.status_of("GET /v1/sys/health", &many, "").await, 431);
}

#[tokio::test(start_paused = true)]
async fn requests_above_the_bound_are_busy_and_status_still_answers() {
    let bench = Bench::with(|_, limits| limits.requests_in_flight_max = 2);
    let mut held = Vec::new();
    for line in ["GET /v1/slow", "PUT /v1/slow"] {
        let mut stream = bench.connect();
        stream.write_all(request(line, "", "").as_bytes()).await.unwrap();
        held.push(stream);
    }
    while bench.fake.calls.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.status_of("GET /v1/echo/a", "", "").await, 429);
    assert_eq!(bench.status_of("GET /v1/sys/health", "", "").await, 200);
    for stream in &mut held {
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 404");
    }
    assert_eq!(bench.status_of("GET /v1/echo/a", "", "").await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_core_forgets_still_ends() {
    let bench = Bench::new();
    assert_eq!(bench.status_of("GET /v1/never", "", "").await, 503);
    let answer = bench.ask("PUT /v1/never", "", "{}").await;
    assert_eq!(status(&answer), 503);
    assert!(body(&answer).contains("may or may not"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_write_outlives_its_caller() {
    let bench = Bench::new();
    let mut stream = bench.connect();
    stream.write_all(request("PUT /v1/slow", "", "{}").as_bytes()).await.unwrap();
    while bench.fake.calls.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    tokio::time::advance(Duration::from_secs(60)).await;
    while bench.fake.finished.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn shutting_down_answers_what_was_asked_and_ends() {
    let bench = Bench::new();
    let mut stream = bench.connect();
    stream.write_all(request("GET /v1/slow", "", "").as_bytes()).await.unwrap();
    while bench.fake.calls.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    bench.shutdown.send(true).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), 404);
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

/// Lets every task go as far as it can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

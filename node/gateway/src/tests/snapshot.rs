//! Backups through both doors: streamed, bounded, and never mistaken for JSON.

use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_proto::ErrorCode;
use conclave_proto::v1::operator_client::OperatorClient;
use conclave_proto::v1::restore_snapshot_part::Part;
use conclave_proto::v1::{self as wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Status;

use super::grpc::{code_of, wire as connect, with_token};
use super::support::{Bench, Transcript, request, status};

const SAVE: &str = "GET /v1/sys/storage/raft/snapshot";
const RESTORE: &str = "POST /v1/sys/storage/raft/snapshot";
const FORCE: &str = "PUT /v1/sys/storage/raft/snapshot-force";
const TOKEN: &str = "x-vault-token: t";

fn told(bench: &Bench) -> Vec<String> {
    std::mem::take(&mut *bench.fake.ceremonies.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn http_streams_backups_both_ways() {
    let bench = Bench::new();
    let mut transcript = Transcript::default();
    transcript.ask(&bench, SAVE, TOKEN, "").await;
    transcript.ask(&bench, SAVE, "", "").await;
    transcript.ask(&bench, RESTORE, TOKEN, "\u{1}not JSON").await;
    transcript.ask(&bench, FORCE, TOKEN, "any").await;
    transcript.ask(&bench, FORCE, "", "any").await;
    for method in ["HEAD", "LIST", "DELETE", "PATCH", "OPTIONS"] {
        let line = format!("{method} /v1/sys/storage/raft/snapshot");
        transcript.ask(&bench, &line, TOKEN, "").await;
    }
    transcript.ask(&bench, "GET /v1/sys/storage/raft/snapshot-force", TOKEN, "").await;
    transcript.check("snapshot");
    let expected = [
        "save Read sys/storage/raft/snapshot",
        "save Read sys/storage/raft/snapshot",
        "restore sys/storage/raft/snapshot false 9 whole",
        "restore sys/storage/raft/snapshot-force true 3 whole",
    ];
    assert_eq!(told(&bench), expected);
}

#[tokio::test(start_paused = true)]
async fn a_backup_may_be_longer_than_any_request() {
    let bench = Bench::with(|config, _| config.request_bytes_max = 1000);
    assert_eq!(bench.status_of(RESTORE, TOKEN, &"x".repeat(3 << 20)).await, 204);
    assert_eq!(told(&bench), ["restore sys/storage/raft/snapshot false 3145728 whole"]);
}

#[tokio::test(start_paused = true)]
async fn a_backup_has_a_limit_of_its_own() {
    let bench = Bench::with(|config, _| config.backup_bytes_max = 1000);
    assert_eq!(bench.status_of(RESTORE, TOKEN, &"x".repeat(1001)).await, 413);
    assert!(told(&bench).is_empty(), "its length was announced");
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let unannounced = format!(
        "{RESTORE} HTTP/1.1\r\nhost: c\r\n{TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(3)
    );
    assert_eq!(status(&bench.talk(unannounced).await), 400);
    let told = told(&bench);
    assert!(told[0].contains("1000 the backup is above 1000 bytes"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_breaks_off_or_stands_still_is_not_whole() {
    let bench = Bench::new();
    let head = format!("{RESTORE} HTTP/1.1\r\nhost: c\r\n{TOKEN}\r\ncontent-length: 9\r\n\r\nab");
    bench.talk(head.clone()).await;
    assert!(!told(&bench).concat().contains("whole"));
    let mut stalled = bench.connect();
    stalled.write_all(head.as_bytes()).await.unwrap();
    tokio::time::advance(Duration::from_secs(31)).await;
    let mut answer = [0; 12];
    stalled.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    assert!(told(&bench)[0].ends_with("2 nothing more of it came for too long"));
}

/// An answer that broke off must not look whole: the connection ends without the last chunk.
#[tokio::test(start_paused = true)]
async fn a_save_that_fails_half_way_is_no_file() {
    let bench = Bench::new();
    let headers = format!("{TOKEN}\nx-vault-namespace: broken");
    let answer = bench.ask(SAVE, &headers, "").await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_ends_the_backup() {
    let bench = Bench::new();
    let headers = format!("{TOKEN}\nx-vault-namespace: endless");
    let mut reader = bench.connect();
    reader.write_all(request(SAVE, &headers, "").as_bytes()).await.unwrap();
    let mut some = vec![0; 1 << 20];
    reader.read_exact(&mut some).await.unwrap();
    assert_eq!(bench.fake.open_backups.load(Ordering::SeqCst), 1);
    drop(reader);
    while bench.fake.open_backups.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

fn start(force: bool) -> wire::RestoreSnapshotPart {
    let start = wire::RestoreSnapshotStart { force };
    wire::RestoreSnapshotPart { part: Some(Part::Start(start)) }
}

fn data(bytes: &'static [u8]) -> wire::RestoreSnapshotPart {
    wire::RestoreSnapshotPart { part: Some(Part::Data(bytes.into())) }
}

#[tokio::test(start_paused = true)]
async fn grpc_streams_backups_both_ways() -> Result<(), Status> {
    let bench = Bench::with(|config, _| config.request_bytes_max = 1000);
    let mut operator = OperatorClient::new(connect(&bench).await);
    let saved = operator.save_snapshot(with_token(wire::SaveSnapshotRequest {})).await?;
    let mut saved = saved.into_inner();
    let mut whole = Vec::new();
    while let Some(part) = saved.message().await? {
        whole.extend_from_slice(&part.data);
    }
    assert_eq!(whole, b"onetwothree");
    let refused = operator.save_snapshot(wire::SaveSnapshotRequest {}).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::PermissionDenied);
    told(&bench);
    for force in [false, true] {
        let parts = [start(force), data(b"ab"), data(&[b'c'; 5000])];
        let parts = with_token(futures::stream::iter(parts));
        let restored = operator.restore_snapshot(parts).await?.into_inner();
        assert_eq!((restored.revision, restored.epoch), (9, 2));
    }
    let expected = [
        "restore sys/storage/raft/snapshot false 5002 whole",
        "restore sys/storage/raft/snapshot-force true 5002 whole",
    ];
    assert_eq!(told(&bench), expected);
    for parts in [vec![], vec![data(b"a")], vec![start(false), data(b"a"), start(true)]] {
        let parts = with_token(futures::stream::iter(parts));
        let refused = operator.restore_snapshot(parts).await.unwrap_err();
        assert_eq!(code_of(&refused), ErrorCode::InvalidRequest);
    }
    Ok(())
}

//! A restore's way through the log, with a log that a test answers for.

use std::sync::Mutex;

use super::*;
use crate::backup::tests::{check, save, state};
use crate::system;

const ID: [u8; 16] = [4; 16];
const REVISION: u64 = 77;

/// What was proposed, in order.
type Proposed = Arc<Mutex<Vec<Kind>>>;

/// Runs a restore of `rows` rows against a log that answers like this.
async fn run(
    rows: u64,
    answer: impl Fn(&Kind) -> Result<Outcome, ProposeError> + Send + Sync,
) -> (Result<u64, Error>, Vec<Kind>) {
    let (proposed, ports) = (Proposed::default(), system::ports());
    let noted = Arc::clone(&proposed);
    let propose = move |command: v1::Command| -> Proposal {
        let kind = command.cluster.and_then(|change| change.kind).expect("a change of the cluster");
        let answer = answer(&kind);
        if !matches!(answer, Err(ProposeError::Busy)) {
            noted.lock().expect("no panic").push(kind);
        }
        // What was queued is answered later.
        let queued = answer.is_ok();
        async move {
            if queued {
                tokio::task::yield_now().await;
            }
            answer.map(|outcome| conclave_raft::Proposed { revision: REVISION, outcome })
        }
        .boxed()
    };
    let mut backup = check(&save(&state(rows), [9; 32])).expect("it is good");
    let restore = Restore { propose: &propose, id: ID, ports: &ports };
    let answer = restore.run(&mut backup.state).await;
    let proposed = std::mem::take(&mut *proposed.lock().expect("no panic"));
    (answer, proposed)
}

fn applied(_: &Kind) -> Result<Outcome, ProposeError> {
    Ok(Outcome::Nothing)
}

fn names(proposed: &[Kind]) -> Vec<&'static str> {
    let name = |kind: &Kind| match kind {
        Kind::RestoreBegin(_) => "begin",
        Kind::RestoreChunk(_) => "chunk",
        Kind::RestoreCommit(_) => "commit",
        Kind::RestoreAbort(_) => "abort",
        _ => "another",
    };
    let mut names: Vec<_> = proposed.iter().map(name).collect();
    names.dedup();
    names
}

fn chunks(proposed: Vec<Kind>) -> Vec<v1::SnapshotChunk> {
    let chunk = |kind| match kind {
        Kind::RestoreChunk(part) => part.chunk,
        _ => None,
    };
    proposed.into_iter().filter_map(chunk).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_its_header_its_records_in_order_and_a_commit() {
    let (answer, proposed) = run(800, applied).await;
    assert_eq!(answer.expect("restored"), REVISION);
    assert_eq!(names(&proposed), ["begin", "chunk", "commit"]);
    let mut backup = check(&save(&state(800), [9; 32])).expect("it is good");
    let Kind::RestoreBegin(begin) = &proposed[0] else { panic!("it begins") };
    let header = begin.header.as_ref().expect("it has one");
    assert_eq!(header.state_hash, backup.state.header().state_hash);
    for kind in &proposed {
        let id = match kind {
            Kind::RestoreBegin(part) => &part.restore_id,
            Kind::RestoreChunk(part) => &part.restore_id,
            Kind::RestoreCommit(part) => &part.restore_id,
            _ => panic!("nothing else belongs to it"),
        };
        assert_eq!(id.as_ref(), ID);
    }
    let mut records = Vec::new();
    while let Some(chunk) = backup.state.next_chunk().expect("readable") {
        records.extend(chunk.records);
    }
    let sent = chunks(proposed);
    assert!(sent.len() > CHUNKS_IN_FLIGHT_MAX, "{}", sent.len());
    check_chain(&sent);
    let sent: Vec<_> = sent.into_iter().flat_map(|chunk| chunk.records).collect();
    assert_eq!(sent, records);
}

/// Numbers, digests and sizes are what apply expects.
fn check_chain(chunks: &[v1::SnapshotChunk]) {
    let mut digest = CHUNK_DIGEST_FIRST;
    for (number, chunk) in (0..).zip(chunks) {
        digest = derive_chunk_digest(&digest, &chunk.records);
        assert_eq!((chunk.number, chunk.digest.as_ref()), (number, &digest[..]));
        let bytes: usize = chunk.records.iter().map(prost::Message::encoded_len).sum();
        assert!(bytes <= CHUNK_BYTES_MAX || chunk.records.len() == 1, "{bytes}");
        assert!(!chunk.records.is_empty());
    }
}

#[test]
fn a_chunk_of_the_file_is_cut_where_an_entry_is_full() {
    let record = |number: u64, bytes: usize| v1::SnapshotRecord {
        key: number.to_be_bytes().to_vec().into(),
        revision: number,
        value: vec![7; bytes].into(),
    };
    let sizes =
        [1, CHUNK_BYTES_MAX / 2, CHUNK_BYTES_MAX / 2, 2 * CHUNK_BYTES_MAX, 0, 5, 1 << 20, 1];
    let records: Vec<_> = (1..).zip(sizes).map(|(number, bytes)| record(number, bytes)).collect();
    // However the file is cut, the log's chunks are the same.
    for file_chunk in 1..=records.len() {
        let (mut chunks, mut sent) = (Chunks::new(), Vec::new());
        for part in records.chunks(file_chunk) {
            sent.extend(chunks.push(Some(part.to_vec())));
        }
        sent.extend(chunks.push(None));
        check_chain(&sent);
        let lengths: Vec<_> = sent.iter().map(|chunk| chunk.records.len()).collect();
        assert_eq!(lengths, [2, 1, 1, 2, 1, 1], "chunks of {file_chunk} records");
    }
    assert!(Chunks::new().push(None).is_empty(), "an empty state has no chunk");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_chunk_fails_nothing_is_committed_and_the_rest_is_given_up() {
    for (failure, code) in [
        (Ok(Outcome::RestoreFailed), ErrorCode::Unavailable),
        (Err(ProposeError::NotLeader), ErrorCode::Unavailable),
        (Err(ProposeError::Unknown), ErrorCode::Unavailable),
        (Err(ProposeError::Full), ErrorCode::DiskFull),
    ] {
        for failing in [0, 2] {
            let (answer, proposed) = run(800, |kind| match kind {
                Kind::RestoreChunk(part)
                    if part.chunk.as_ref().is_some_and(|chunk| chunk.number == failing) =>
                {
                    failure.clone()
                }
                _ => Ok(Outcome::Nothing),
            })
            .await;
            let error = answer.expect_err("it failed");
            assert_eq!(error.code, code, "{failure:?}: {error}");
            assert!(
                code == ErrorCode::DiskFull || error.message.contains("nothing was restored"),
                "{error}"
            );
            assert_eq!(names(&proposed), ["begin", "chunk", "abort"], "{failure:?}");
        }
    }
}

/// A leader that is lost says so at every entry, the abort too; a lost answer to the first entry may
/// have staged something.
#[tokio::test(flavor = "multi_thread")]
async fn where_it_does_not_even_begin_no_record_is_sent() {
    for failure in [ProposeError::NotLeader, ProposeError::Unknown] {
        let (answer, proposed) = run(800, |_| Err(failure.clone())).await;
        let error = answer.expect_err("it failed");
        assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
        assert_eq!(names(&proposed), ["begin", "abort"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_lost_answer_to_the_commit_leaves_the_outcome_unknown() {
    for (end, code) in [
        (Err(ProposeError::Unknown), ErrorCode::OutcomeUnknown),
        (Err(ProposeError::NotLeader), ErrorCode::Unavailable),
        (Ok(Outcome::RestoreFailed), ErrorCode::Unavailable),
    ] {
        let (answer, proposed) = run(3, |kind| match kind {
            Kind::RestoreCommit(_) => end.clone(),
            _ => Ok(Outcome::Nothing),
        })
        .await;
        assert_eq!(answer.expect_err("it failed").code, code);
        assert_eq!(names(&proposed), ["begin", "chunk", "commit"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_waited_out_and_the_order_stays() {
    let calls = Mutex::new(0);
    let (answer, proposed) = run(800, |_| {
        let mut calls = calls.lock().expect("no panic");
        *calls += 1;
        if *calls % 3 == 0 { Err(ProposeError::Busy) } else { Ok(Outcome::Nothing) }
    })
    .await;
    assert_eq!(answer.expect("restored"), REVISION);
    assert_eq!(names(&proposed), ["begin", "chunk", "commit"]);
    check_chain(&chunks(proposed));
}

#[test]
fn a_second_restore_is_told_to_wait() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let backups = Backups::open(place.path()).expect("room");
    let first = backups.begin_restore().expect("nobody else restores");
    assert!(backups.begin_restore().is_err_and(|error| error.code == ErrorCode::Busy));
    drop(first);
    assert!(backups.begin_restore().is_ok());
}

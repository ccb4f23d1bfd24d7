//! The limits of a command, checked by whoever proposes one.
//!
//! `apply` checks them again. An entry that breaks one was committed all the same, so it has an
//! outcome, the same on every replica ([`Outcome::ConditionFailed`](super::Outcome)), and does not
//! stop a node.

use std::collections::BTreeSet;

use prost::Message;

use super::hash::StateHash;
use super::key::{KEY_BYTES_MAX, SESSION_ID_BYTES};
use super::record::FORMAT;
use crate::v1::cluster_change::Kind as ClusterKind;
use crate::v1::condition::Kind as ConditionKind;
use crate::v1::session_change::Kind as SessionKind;
use crate::v1::{
    ClusterChange, Command, Condition, Key, RequestId, RestoreBegin, RestoreChunk, SessionChange,
    SnapshotHeader,
};

/// Why a command cannot be proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    /// The whole of it is too long.
    #[error("the command has {bytes} bytes; split it below {COMMAND_BYTES_MAX}")]
    CommandTooLong {
        /// Its encoded length.
        bytes: usize,
    },
    /// A value is too long.
    #[error("a value has {bytes} bytes; keep it within {VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
    /// Too many writes.
    #[error("the command has {count} writes; split it below {WRITES_MAX}")]
    TooManyWrites {
        /// How many.
        count: usize,
    },
    /// A path that names no row.
    #[error("a key is missing or has no segment; name a row")]
    NoKey,
    /// A path that is too deep.
    #[error("a path has {count} segments; keep it within {SEGMENTS_MAX}")]
    TooDeep {
        /// How many.
        count: usize,
    },
    /// A segment that is empty or too long.
    #[error("a segment has {bytes} bytes; keep it between 1 and {SEGMENT_BYTES_MAX}")]
    SegmentLength {
        /// Its length.
        bytes: usize,
    },
    /// Two writes of one row.
    #[error("a key is written twice; keep the last write only")]
    WrittenTwice,
    /// A condition, session change or cluster change that says nothing.
    #[error("a condition, session change or cluster change has no kind; leave it out")]
    NoKind,
    /// A session id, owner, time to live, sequence, fingerprint or reply out of its bounds.
    #[error("the {part} of a request id or session is out of bounds; see the limits in its schema")]
    Session {
        /// Which.
        part: &'static str,
    },
    /// A cluster change in company, or a part of it that is missing or out of its bounds.
    #[error("the cluster change's {part}; see the limits in its schema")]
    Cluster {
        /// What is wrong with it.
        part: &'static str,
    },
}

/// Checks every limit of a command.
///
/// # Errors
/// The first limit it breaks.
pub fn validate(command: &Command) -> Result<(), InvalidCommand> {
    validate_sized(command, command.encoded_len())
}

/// As [`validate`], with the encoded length known.
pub(crate) fn validate_sized(command: &Command, bytes: usize) -> Result<(), InvalidCommand> {
    if bytes > COMMAND_BYTES_MAX {
        return Err(InvalidCommand::CommandTooLong { bytes });
    }
    if let Some(change) = &command.cluster {
        validate_alone(command)?;
        return validate_cluster(change);
    }
    if let Some(request) = &command.request_id {
        validate_request(request)?;
    }
    if let Some(change) = &command.session {
        validate_session(change)?;
    }
    command.conditions.iter().try_for_each(validate_condition)?;
    validate_writes(command)
}

fn validate_writes(command: &Command) -> Result<(), InvalidCommand> {
    let count = command.writes.len();
    if count > WRITES_MAX {
        return Err(InvalidCommand::TooManyWrites { count });
    }
    let mut seen = BTreeSet::new();
    for write in &command.writes {
        let key = validate_key(write.key.as_ref())?;
        let bytes = write.value.as_ref().map_or(0, |value| value.len());
        if bytes > VALUE_BYTES_MAX {
            return Err(InvalidCommand::ValueTooLong { bytes });
        }
        if count > 1 && !seen.insert((key.flat, &key.segments)) {
            return Err(InvalidCommand::WrittenTwice);
        }
    }
    Ok(())
}

fn validate_condition(condition: &Condition) -> Result<(), InvalidCommand> {
    match &condition.kind {
        None => Err(InvalidCommand::NoKind),
        Some(ConditionKind::Key(row)) => validate_key(row.key.as_ref()).map(|_| ()),
        // The root directory has no segment.
        Some(ConditionKind::Children(children)) => validate_segments(&children.segments),
    }
}

fn validate_key(key: Option<&Key>) -> Result<&Key, InvalidCommand> {
    let key = key.filter(|key| !key.segments.is_empty()).ok_or(InvalidCommand::NoKey)?;
    validate_segments(&key.segments)?;
    Ok(key)
}

fn validate_segments(segments: &[bytes::Bytes]) -> Result<(), InvalidCommand> {
    if segments.len() > SEGMENTS_MAX {
        return Err(InvalidCommand::TooDeep { count: segments.len() });
    }
    for segment in segments {
        if segment.is_empty() || segment.len() > SEGMENT_BYTES_MAX {
            return Err(InvalidCommand::SegmentLength { bytes: segment.len() });
        }
    }
    Ok(())
}

fn validate_request(request: &RequestId) -> Result<(), InvalidCommand> {
    check(request.session.len() == SESSION_ID_BYTES, "session")?;
    check(request.low_water <= request.sequence, "low-water mark")?;
    check(request.fingerprint.len() <= FINGERPRINT_BYTES_MAX, "fingerprint")?;
    check(request.reply.len() <= REPLY_BYTES_MAX, "reply")
}

fn validate_session(change: &SessionChange) -> Result<(), InvalidCommand> {
    match &change.kind {
        None => Err(InvalidCommand::NoKind),
        Some(SessionKind::Close(session)) => check(session.len() == SESSION_ID_BYTES, "session"),
        Some(SessionKind::Open(open)) => {
            check(open.session.len() == SESSION_ID_BYTES, "session")?;
            check((1..=OWNER_BYTES_MAX).contains(&open.owner.len()), "owner")?;
            check((1..=SESSION_TTL_MS_MAX).contains(&open.ttl_ms), "time to live")
        }
    }
}

/// A cluster change excludes everything but the stamped time.
fn validate_alone(command: &Command) -> Result<(), InvalidCommand> {
    let alone = command.request_id.is_none()
        && command.conditions.is_empty()
        && command.writes.is_empty()
        && command.event.is_empty()
        && command.session.is_none();
    check_cluster(alone, "command has something else")
}

fn validate_cluster(change: &ClusterChange) -> Result<(), InvalidCommand> {
    match &change.kind {
        None => Err(InvalidCommand::NoKind),
        Some(ClusterKind::Recovered(recovered)) => {
            check_cluster(recovered.epoch > 1, "epoch is not above the first")
        }
        Some(ClusterKind::RestoreBegin(begin)) => validate_begin(begin),
        Some(ClusterKind::RestoreChunk(chunk)) => validate_chunk(chunk),
        Some(ClusterKind::RestoreCommit(commit)) => validate_restore_id(&commit.restore_id),
        Some(ClusterKind::RestoreAbort(abort)) => validate_restore_id(&abort.restore_id),
    }
}

fn validate_begin(begin: &RestoreBegin) -> Result<(), InvalidCommand> {
    validate_restore_id(&begin.restore_id)?;
    let missing = InvalidCommand::Cluster { part: "header is missing" };
    let header: &SnapshotHeader = begin.header.as_ref().ok_or(missing)?;
    check_cluster(header.format == FORMAT, "header has an unknown format")?;
    check_cluster(
        header.state_hash.len() == size_of::<StateHash>(),
        "state hash has a wrong length",
    )?;
    check_cluster(header.encoded_len() <= RESTORE_HEADER_BYTES_MAX, "header is too long")
}

fn validate_chunk(restore: &RestoreChunk) -> Result<(), InvalidCommand> {
    validate_restore_id(&restore.restore_id)?;
    let missing = InvalidCommand::Cluster { part: "chunk is missing" };
    let chunk = restore.chunk.as_ref().ok_or(missing)?;
    check_cluster(!chunk.records.is_empty(), "chunk is empty")?;
    // One record may be longer than chunks are: a value of the greatest length.
    let short = chunk.encoded_len() <= RESTORE_CHUNK_BYTES_MAX || chunk.records.len() == 1;
    check_cluster(short, "chunk is too long")?;
    for record in &chunk.records {
        check_cluster((1..=KEY_BYTES_MAX).contains(&record.key.len()), "record has no good key")?;
        let bytes = record.value.len();
        if bytes > VALUE_BYTES_MAX {
            return Err(InvalidCommand::ValueTooLong { bytes });
        }
    }
    Ok(())
}

fn validate_restore_id(id: &[u8]) -> Result<(), InvalidCommand> {
    check_cluster(id.len() == RESTORE_ID_BYTES, "restore id has a wrong length")
}

fn check_cluster(holds: bool, part: &'static str) -> Result<(), InvalidCommand> {
    if holds { Ok(()) } else { Err(InvalidCommand::Cluster { part }) }
}

fn check(holds: bool, part: &'static str) -> Result<(), InvalidCommand> {
    if holds { Ok(()) } else { Err(InvalidCommand::Session { part }) }
}

/// Longest value of a row.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest encoded command.
pub const COMMAND_BYTES_MAX: usize = (1 << 20) + (256 << 10);
/// Longest segment: the longest padded name with its encryption's overhead.
pub const SEGMENT_BYTES_MAX: usize = 1_100;
/// Deepest path.
pub const SEGMENTS_MAX: usize = 128;
/// Most writes of one command.
pub const WRITES_MAX: usize = 10_000;
/// Sessions that one owner may have open.
pub const SESSIONS_PER_OWNER_MAX: u32 = 64;
/// Requests that one session remembers.
pub const REQUESTS_PER_SESSION_MAX: u32 = 1_024;
/// Longest time to live of a session: seven days.
pub const SESSION_TTL_MS_MAX: u64 = 7 * 24 * 3_600 * 1_000;
/// Longest sealed reply: 4 KiB of response and the sealing's overhead.
pub const REPLY_BYTES_MAX: usize = (4 << 10) + 256;
/// Longest fingerprint of a request.
pub const FINGERPRINT_BYTES_MAX: usize = 64;
/// Length of a restore's id.
pub const RESTORE_ID_BYTES: usize = 16;
/// Longest header of a backup that is restored.
pub const RESTORE_HEADER_BYTES_MAX: usize = 64 << 10;
/// Longest encoded chunk of a restore, unless it is of one record.
pub const RESTORE_CHUNK_BYTES_MAX: usize = 512 << 10;
/// Longest owner of a session.
pub const OWNER_BYTES_MAX: usize = 64;

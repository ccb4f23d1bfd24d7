//! The limits of a command, checked by whoever proposes one.
//!
//! `apply` checks them again. An entry that breaks one was committed all the same, so it has an
//! outcome, the same on every replica ([`Outcome::ConditionFailed`](super::Outcome)), and does not
//! stop a node.

use std::collections::BTreeSet;

use prost::Message;

use super::key::SESSION_ID_BYTES;
use crate::v1::condition::Kind as ConditionKind;
use crate::v1::session_change::Kind as SessionKind;
use crate::v1::{Command, Condition, Key, RequestId, SessionChange};

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
    /// A condition or session change that says nothing.
    #[error("a condition or a session change has no kind; leave it out")]
    NoKind,
    /// A session id, owner, time to live, sequence, fingerprint or reply out of its bounds.
    #[error("the {part} of a request id or session is out of bounds; see the limits in its schema")]
    Session {
        /// Which.
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
/// Longest owner of a session.
pub const OWNER_BYTES_MAX: usize = 64;

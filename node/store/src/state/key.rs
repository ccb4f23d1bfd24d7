//! Logical keys: where each kind of record stands in the state's one ordered space.
//!
//! ```text
//! 0x01 ‖ directory id (16) ‖ 0x01 ‖ name        row
//! 0x01 ‖ directory id (16) ‖ 0x02 ‖ name        sub-directory
//! 0x01 ‖ directory id (16) ‖ 0x03 ‖ name        flat row
//! 0x02                                          the root directory
//! 0x03 ‖ session (16)                           session
//! 0x04 ‖ session (16) ‖ sequence (8)            remembered request
//! 0x05 ‖ expiry in ms (8) ‖ session (16)        when to look at a session
//! 0x06 ‖ owner                                  how many sessions an owner has
//! 0x07                                          the cluster's epochs
//! ```
//!
//! The directory id is the first half of
//! `SHA-256("conclave/directory/1" ‖ len32(segment) ‖ segment ‖ …)` over the directory's path, so
//! that the children of a directory are contiguous and a deep path costs no more than a shallow
//! one. Integers are big-endian.

use std::ops::Range;

use bytes::Bytes;
use ring::digest;

use crate::v1::Key;

/// Identifies a directory by its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DirectoryId([u8; DIRECTORY_ID_BYTES]);

impl DirectoryId {
    /// Derives the id of a path; the root's path is empty.
    pub(crate) fn derive(segments: &[Bytes]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(DIRECTORY_LABEL);
        for segment in segments {
            context.update(&(segment.len() as u32).to_be_bytes());
            context.update(segment);
        }
        let mut id = [0; DIRECTORY_ID_BYTES];
        id.copy_from_slice(&context.finish().as_ref()[..DIRECTORY_ID_BYTES]);
        Self(id)
    }

    /// The keys of one kind of child, in name order.
    pub(crate) fn children(self, kind: ChildKind) -> Range<Bytes> {
        let first = self.child(kind, b"");
        let mut end = first.to_vec();
        *end.last_mut().expect("a kind byte ends the prefix") += 1;
        first..Bytes::from(end)
    }

    pub(crate) fn child(self, kind: ChildKind, name: &[u8]) -> Bytes {
        let mut key = Vec::with_capacity(CHILD_PREFIX_BYTES + name.len());
        key.push(SPACE_TREE);
        key.extend_from_slice(&self.0);
        key.push(kind as u8);
        key.extend_from_slice(name);
        Bytes::from(key)
    }
}

/// What stands in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum ChildKind {
    Row = 0x01,
    Directory = 0x02,
    Flat = 0x03,
}

/// The name in a key made by [`DirectoryId::child`].
pub(crate) fn child_name(key: &Bytes) -> Bytes {
    key.slice(CHILD_PREFIX_BYTES.min(key.len())..)
}

/// A row's key; none where the path is empty.
pub(crate) fn row(key: &Key) -> Option<Bytes> {
    let (name, directory) = key.segments.split_last()?;
    let kind = if key.flat { ChildKind::Flat } else { ChildKind::Row };
    Some(DirectoryId::derive(directory).child(kind, name))
}

/// The key of a directory's own record.
pub(crate) fn directory(segments: &[Bytes]) -> Bytes {
    match segments.split_last() {
        None => Bytes::from_static(&[SPACE_ROOT]),
        Some((name, parent)) => DirectoryId::derive(parent).child(ChildKind::Directory, name),
    }
}

/// Identifies a session; chosen at random by whoever opens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SessionId(pub(crate) [u8; SESSION_ID_BYTES]);

impl SessionId {
    /// None where `bytes` has another length.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn record(self) -> Bytes {
        join(SPACE_SESSION, &[&self.0])
    }

    pub(crate) fn request(self, sequence: u64) -> Bytes {
        join(SPACE_REQUEST, &[&self.0, &sequence.to_be_bytes()])
    }

    /// The remembered requests below a sequence; every one where none is given.
    pub(crate) fn requests(self, below: Option<u64>) -> Range<Bytes> {
        let end = match below {
            Some(sequence) => self.request(sequence),
            // Longer than any key of this session and above all of them.
            None => join(SPACE_REQUEST, &[&self.0, &[0xff; 9]]),
        };
        self.request(0)..end
    }

    pub(crate) fn expiry(self, expiry_ms: u64) -> Bytes {
        join(SPACE_EXPIRY, &[&expiry_ms.to_be_bytes(), &self.0])
    }
}

/// The expiry index up to and including a time.
pub(crate) fn expiries_until(time_ms: u64) -> Range<Bytes> {
    join(SPACE_EXPIRY, &[])..after_expiry(time_ms)
}

/// The expiry index from a time on, without it.
pub(crate) fn expiries_after(time_ms: u64) -> Range<Bytes> {
    after_expiry(time_ms)..Bytes::from_static(&[SPACE_EXPIRY + 1])
}

/// Longer than any key of this time and above all of them.
fn after_expiry(time_ms: u64) -> Bytes {
    join(SPACE_EXPIRY, &[&time_ms.to_be_bytes(), &[0xff; SESSION_ID_BYTES + 1]])
}

/// Takes a key of the expiry index apart.
pub(crate) fn parse_expiry(key: &[u8]) -> Option<(u64, SessionId)> {
    let (time, session) = key.strip_prefix(&[SPACE_EXPIRY])?.split_at_checked(8)?;
    Some((u64::from_be_bytes(time.try_into().ok()?), SessionId::parse(session)?))
}

/// The key of an owner's session count.
pub(crate) fn owner(owner: &[u8]) -> Bytes {
    join(SPACE_OWNER, &[owner])
}

/// The key of the cluster's epochs.
pub(crate) fn epoch() -> Bytes {
    Bytes::from_static(&[SPACE_EPOCH])
}

/// Whether a record is one of rows and directories: what a restore brings back.
pub(crate) fn is_of_tree(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(SPACE_TREE | SPACE_ROOT)))
}

/// Every logical key.
pub(crate) fn everything() -> Range<Bytes> {
    Bytes::from_static(&[SPACE_TREE])..Bytes::from_static(&[SPACE_EPOCH + 1])
}

/// Whether a key could have been made here: what an import checks.
pub(crate) fn is_plausible(key: &[u8]) -> bool {
    let Some((space, rest)) = key.split_first() else { return false };
    match *space {
        SPACE_TREE => match rest.get(DIRECTORY_ID_BYTES) {
            Some(kind) => {
                (ChildKind::Row as u8..=ChildKind::Flat as u8).contains(kind)
                    && key.len() > CHILD_PREFIX_BYTES
                    && key.len() <= KEY_BYTES_MAX
            }
            None => false,
        },
        SPACE_ROOT | SPACE_EPOCH => rest.is_empty(),
        SPACE_SESSION => rest.len() == SESSION_ID_BYTES,
        SPACE_REQUEST | SPACE_EXPIRY => rest.len() == SESSION_ID_BYTES + 8,
        SPACE_OWNER => rest.len() <= KEY_BYTES_MAX,
        _ => false,
    }
}

fn join(space: u8, parts: &[&[u8]]) -> Bytes {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(space);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    Bytes::from(key)
}

/// Length of a session's id.
pub(crate) const SESSION_ID_BYTES: usize = 16;
const DIRECTORY_ID_BYTES: usize = 16;
const CHILD_PREFIX_BYTES: usize = 1 + DIRECTORY_ID_BYTES + 1;
/// Longest logical key: a child with the longest segment.
pub(crate) const KEY_BYTES_MAX: usize = CHILD_PREFIX_BYTES + super::limits::SEGMENT_BYTES_MAX;

const SPACE_TREE: u8 = 0x01;
const SPACE_ROOT: u8 = 0x02;
const SPACE_SESSION: u8 = 0x03;
const SPACE_REQUEST: u8 = 0x04;
const SPACE_EXPIRY: u8 = 0x05;
const SPACE_OWNER: u8 = 0x06;
const SPACE_EPOCH: u8 = 0x07;
const DIRECTORY_LABEL: &[u8] = b"conclave/directory/1";

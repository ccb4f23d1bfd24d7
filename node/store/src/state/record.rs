//! How records and metadata lie in the engine.
//!
//! ```text
//! 0x00 ‖ "meta"                                         metadata: crc32 ‖ protobuf
//! generation ‖ 0x01 ‖ key                               head: revision64 ‖ length32 ‖ crc32 ‖ part 0
//! generation ‖ 0x02 ‖ len16(key) ‖ key ‖ revision64 ‖ i16   part i (i ≥ 1) of a long value
//! ```
//!
//! Integers are big-endian; the CRC-32 covers `len32(key) ‖ key ‖ revision64 ‖ value`. Part 0 is at
//! most [`HEAD_PART_BYTES`], every other at most [`PART_BYTES`], so that no engine value exceeds
//! 4 KiB. Parts stand apart from heads, so a scan over a directory meets one pair per child, and
//! they are keyed by revision, so a reader never joins parts of two versions.

use bytes::Bytes;
use prost::Message;

use super::engine::{StateEngine, Writes};
use super::key;
use super::restore::Restore;
use super::types::StateError;
use crate::v1::{LogId, StoredMembership};

/// A record of the state machine, whatever its kind.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Record {
    /// The index of the entry that wrote it.
    pub(crate) revision: u64,
    pub(crate) value: Bytes,
}

/// Which version of a record the engine holds: enough to delete its parts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Stored {
    revision: u64,
    bytes: usize,
}

impl Record {
    pub(crate) fn stored(&self) -> Stored {
        Stored { revision: self.revision, bytes: self.value.len() }
    }
}

/// The first part of a record, as scans meet it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Head {
    pub(crate) revision: u64,
    bytes: usize,
    crc: u32,
    part: Bytes,
}

impl Head {
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES)?;
        let parsed = Self {
            revision: u64::from_be_bytes(head[..8].try_into().ok()?),
            bytes: u32::from_be_bytes(head[8..12].try_into().ok()?) as usize,
            crc: u32::from_be_bytes(head[12..].try_into().ok()?),
            part: Bytes::from(bytes).slice(HEAD_BYTES..),
        };
        (parsed.part.len() == parsed.bytes.min(HEAD_PART_BYTES)).then_some(parsed)
    }

    /// Whether these are the bytes of a head at revision 0, an absent record's before-image.
    pub(crate) fn is_absent(bytes: &[u8]) -> bool {
        bytes.starts_with(&[0; 8])
    }

    /// Whether the value has more parts.
    pub(crate) fn is_long(&self) -> bool {
        self.part.len() < self.bytes
    }

    /// The record of a value of one part, checked.
    pub(crate) fn into_record(self, key: &[u8]) -> Result<Record, StateError> {
        self.check(key, self.part.clone())
    }

    fn check(&self, key: &[u8], value: Bytes) -> Result<Record, StateError> {
        if value.len() != self.bytes || derive_crc(key, self.revision, &value) != self.crc {
            return Err(StateError::Damaged("a record does not match its checksum".into()));
        }
        Ok(Record { revision: self.revision, value })
    }
}

/// One generation of records in an engine. An import fills the next generation beside the one in
/// force; one small write of metadata then switches over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Generation(pub(crate) u8);

impl Generation {
    pub(crate) fn head(self, key: &[u8]) -> Vec<u8> {
        let mut at = Vec::with_capacity(2 + key.len());
        at.extend_from_slice(&[self.0, AREA_HEAD]);
        at.extend_from_slice(key);
        at
    }

    /// The logical key of a pair from the head area.
    pub(crate) fn logical(engine_key: Vec<u8>) -> Bytes {
        Bytes::from(engine_key).slice(2..)
    }

    /// Reads and checks a whole record.
    pub(crate) fn load(
        self,
        engine: &dyn StateEngine,
        key: &[u8],
    ) -> Result<Option<Record>, StateError> {
        match engine.get(&self.head(key))? {
            None => Ok(None),
            Some(bytes) => match Head::parse(bytes) {
                None => Err(StateError::Damaged("a record's head is malformed".into())),
                Some(head) => self.complete(engine, key, head).map(Some),
            },
        }
    }

    /// Reads the other parts of a record and checks it.
    pub(crate) fn complete(
        self,
        engine: &dyn StateEngine,
        key: &[u8],
        head: Head,
    ) -> Result<Record, StateError> {
        if !head.is_long() {
            return head.into_record(key);
        }
        let mut value = Vec::with_capacity(head.bytes.min(VALUE_BYTES_SANE));
        value.extend_from_slice(&head.part);
        for number in 1..=parts(head.bytes) {
            match engine.get(&self.part(key, head.revision, number))? {
                Some(part) => value.extend_from_slice(&part),
                None => return Err(StateError::Damaged("a part of a value is missing".into())),
            }
        }
        head.check(key, Bytes::from(value))
    }

    /// Replaces the `stored` version of a record by `record`; none deletes it.
    pub(crate) fn write(
        self,
        writes: &mut Writes,
        key: &[u8],
        stored: Option<Stored>,
        record: Option<&Record>,
    ) {
        if let Some(stored) = stored {
            for number in 1..=parts(stored.bytes) {
                writes.push((self.part(key, stored.revision, number), None));
            }
        }
        match record {
            Some(record) => self.put(writes, key, record),
            None if stored.is_some() => writes.push((self.head(key), None)),
            None => {}
        }
    }

    fn put(self, writes: &mut Writes, key: &[u8], record: &Record) {
        let (first, rest) = record.value.split_at(record.value.len().min(HEAD_PART_BYTES));
        let mut head = Vec::with_capacity(HEAD_BYTES + first.len());
        head.extend_from_slice(&record.revision.to_be_bytes());
        head.extend_from_slice(&(record.value.len() as u32).to_be_bytes());
        head.extend_from_slice(&derive_crc(key, record.revision, &record.value).to_be_bytes());
        head.extend_from_slice(first);
        for (part, number) in rest.chunks(PART_BYTES).zip(1..) {
            writes.push((self.part(key, record.revision, number), Some(part.to_vec())));
        }
        writes.push((self.head(key), Some(head)));
    }

    fn part(self, key: &[u8], revision: u64, number: u16) -> Vec<u8> {
        let mut at = Vec::with_capacity(4 + key.len() + 10);
        at.extend_from_slice(&[self.0, AREA_PART]);
        at.extend_from_slice(&(key.len() as u16).to_be_bytes());
        at.extend_from_slice(key);
        at.extend_from_slice(&revision.to_be_bytes());
        at.extend_from_slice(&number.to_be_bytes());
        at
    }
}

/// How many parts follow the head of a value of this length.
fn parts(bytes: usize) -> u16 {
    let count = bytes.saturating_sub(HEAD_PART_BYTES).div_ceil(PART_BYTES);
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn derive_crc(key: &[u8], revision: u64, value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&(key.len() as u32).to_be_bytes());
    crc.update(key);
    crc.update(&revision.to_be_bytes());
    crc.update(value);
    crc.finalize()
}

/// The one metadata record: at which entry boundary the engine stands.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Meta {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) generation: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) log_id: Option<LogId>,
    #[prost(message, optional, tag = "4")]
    pub(crate) membership: Option<StoredMembership>,
    #[prost(uint64, tag = "5")]
    pub(crate) stamped_ms: u64,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) state_hash: Bytes,
    #[prost(uint64, tag = "7")]
    pub(crate) record_count: u64,
    /// The boot in which the state was closed in good order; absent while it is open.
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub(crate) closed_in_boot: Option<Bytes>,
    /// The restore under way, and what is staged of it.
    #[prost(message, optional, tag = "9")]
    pub(crate) restore: Option<Restore>,
}

impl Meta {
    pub(crate) fn read(engine: &dyn StateEngine) -> Result<Option<Self>, StateError> {
        let Some(bytes) = engine.get(META_KEY)? else { return Ok(None) };
        let damaged = || StateError::Damaged("the metadata does not match its checksum".into());
        let (crc, body) = bytes.split_at_checked(4).ok_or_else(damaged)?;
        if crc != derive_crc(META_KEY, 0, body).to_be_bytes() {
            return Err(damaged());
        }
        let meta = Self::decode(body).map_err(|_| damaged())?;
        if meta.format != FORMAT {
            let what = format!("its format is {}, this version knows {FORMAT}", meta.format);
            return Err(StateError::Damaged(what));
        }
        Ok(Some(meta))
    }

    pub(crate) fn write(&self, writes: &mut Writes) {
        let body = self.encode_to_vec();
        let mut bytes = derive_crc(META_KEY, 0, &body).to_be_bytes().to_vec();
        bytes.extend_from_slice(&body);
        writes.push((META_KEY.to_vec(), Some(bytes)));
    }
}

/// The layout this version writes, in metadata and in snapshots.
pub const FORMAT: u32 = 1;
/// The generation of a state that was never replaced.
pub(crate) const GENERATION_FIRST: Generation = Generation(1);
/// Generations are reused in a circle up to this one.
pub(crate) const GENERATION_MAX: u8 = 250;
/// Generations from here to [`SLOT_LAST`] hold before-images for open copies; a revision of 0
/// stands for an absent record.
pub(crate) const SLOT_FIRST: u8 = 251;
pub(crate) const SLOT_LAST: u8 = 253;

const META_KEY: &[u8] = b"\0meta";
const AREA_HEAD: u8 = 0x01;
const AREA_PART: u8 = 0x02;
const HEAD_BYTES: usize = 16;
const PART_BYTES: usize = 4096;
const HEAD_PART_BYTES: usize = PART_BYTES - HEAD_BYTES;
/// A damaged length must not make a reader reserve gigabytes.
const VALUE_BYTES_SANE: usize = 2 * super::limits::VALUE_BYTES_MAX;
const _: () = assert!(key::KEY_BYTES_MAX <= u16::MAX as usize, "a part's key length has 16 bits");

//! What a KV mount stores, and where.
//!
//! ```text
//! config                   ConfigRecord
//! names/<name>             NameRecord: metadata, and the id of the object the name points to
//! objects/<id>/<number>    VersionRecord: one version's data
//! ```
//!
//! A name points to an object, so that a move rewrites names and never versions. Records are
//! protobuf; tags are never reused.

use std::collections::BTreeMap;

use bytes::Bytes;
use conclave_mount::{Caller, EngineError, Storage};
use prost::Message;

use super::attribution::{self, Actor, ActorIndex};

/// How many versions a name keeps where neither it nor its mount says.
const VERSIONS_DEFAULT: u64 = 10;

/// How many versions a name may keep: all of them leave in one log entry with the name.
pub(super) const VERSIONS_MAX: u64 = 2_000;

const OBJECT_ID_BYTES: usize = 15;

/// The directory of names.
pub(super) const NAMES: &str = "names";

const CONFIG: &str = "config";

/// A mount's own settings.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ConfigRecord {
    /// 0 for the default.
    #[prost(uint64, tag = "1")]
    pub(super) max_versions: u64,
    /// Whether every write must carry `cas`.
    #[prost(bool, tag = "2")]
    pub(super) cas_required: bool,
    /// 0 for never.
    #[prost(uint64, tag = "3")]
    pub(super) delete_version_after_ms: u64,
    /// Whether every change of metadata must carry `metadata_cas`.
    #[prost(bool, tag = "4")]
    pub(super) metadata_cas_required: bool,
    /// Whether no version goes by itself, whatever its name says.
    #[prost(bool, tag = "5")]
    pub(super) never_deletes: bool,
}

/// What is known about a name.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct NameRecord {
    /// 15 bytes: where the versions are. In hex they fit into a name padded to 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) object_id: Bytes,
    /// The number of the newest version, 0 where none was written yet. Never goes back.
    #[prost(uint64, tag = "2")]
    pub(super) current_version: u64,
    /// The lowest number still kept, 0 as long as none was given up.
    #[prost(uint64, tag = "3")]
    pub(super) oldest_version: u64,
    /// When the name appeared.
    #[prost(uint64, tag = "4")]
    pub(super) created_ms: u64,
    /// When a version or the metadata was last written.
    #[prost(uint64, tag = "5")]
    pub(super) updated_ms: u64,
    /// 0 for the mount's.
    #[prost(uint64, tag = "6")]
    pub(super) max_versions: u64,
    /// Whether every write must carry `cas`.
    #[prost(bool, tag = "7")]
    pub(super) cas_required: bool,
    /// 0 for the mount's.
    #[prost(uint64, tag = "8")]
    pub(super) delete_version_after_ms: u64,
    /// The users' own words.
    #[prost(btree_map = "string, string", tag = "9")]
    pub(super) custom_metadata: BTreeMap<String, String>,
    /// Ascending by number, without gaps.
    #[prost(message, repeated, tag = "10")]
    pub(super) versions: Vec<VersionMetadata>,
    /// Everybody whom this record names.
    #[prost(message, repeated, tag = "11")]
    pub(super) actors: Vec<Actor>,
    /// Who changed the name last.
    #[prost(uint32, tag = "12")]
    pub(super) updated_by: ActorIndex,
    /// How often the metadata was written. Never goes back.
    #[prost(uint64, tag = "13")]
    pub(super) metadata_version: u64,
    /// Whether every change of metadata must carry `metadata_cas`.
    #[prost(bool, tag = "14")]
    pub(super) metadata_cas_required: bool,
}

/// What is known about one version.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct VersionMetadata {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    /// When it was written.
    #[prost(uint64, tag = "2")]
    pub(super) created_ms: u64,
    /// From when on it reads as deleted, 0 for never. May lie ahead.
    #[prost(uint64, tag = "3")]
    pub(super) deletion_ms: u64,
    /// Whether its data is gone for good.
    #[prost(bool, tag = "4")]
    pub(super) destroyed: bool,
    /// Who wrote it.
    #[prost(uint32, tag = "5")]
    pub(super) created_by: ActorIndex,
    /// Who deleted it; 0 also where its time came.
    #[prost(uint32, tag = "6")]
    pub(super) deleted_by: ActorIndex,
    /// Who removed its data.
    #[prost(uint32, tag = "7")]
    pub(super) destroyed_by: ActorIndex,
}

/// One version's data. It has no `Debug`: it is secret.
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub(super) struct VersionRecord {
    /// A JSON object, byte for byte as the client sent it.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) data: Bytes,
}

impl ConfigRecord {
    pub(super) fn load(storage: &mut dyn Storage) -> Result<Self, EngineError> {
        Ok(load(storage, CONFIG)?.unwrap_or_default())
    }

    pub(super) fn store(&self, storage: &mut dyn Storage) -> Result<(), EngineError> {
        Ok(storage.put(CONFIG, self.encode_to_vec().into())?)
    }
}

impl NameRecord {
    /// A name without versions, with an object of its own.
    pub(super) fn new(unique: &[u8; 16], now_ms: u64) -> Self {
        Self {
            object_id: Bytes::copy_from_slice(&unique[..OBJECT_ID_BYTES]),
            created_ms: now_ms,
            updated_ms: now_ms,
            ..Self::default()
        }
    }

    /// Notes that `caller` changes the name now.
    pub(super) fn touch(&mut self, caller: &Caller, now_ms: u64) -> ActorIndex {
        self.updated_ms = now_ms;
        self.updated_by = self.actor(caller);
        self.updated_by
    }

    /// The index that stands for `caller` in this record.
    pub(super) fn actor(&mut self, caller: &Caller) -> ActorIndex {
        attribution::note(&mut self.actors, caller)
    }

    pub(super) fn load(storage: &mut dyn Storage, name: &str) -> Result<Option<Self>, EngineError> {
        load(storage, &name_path(name))
    }

    /// Writes it at its name, without anybody whom no version names any more.
    pub(super) fn store(
        &mut self,
        storage: &mut dyn Storage,
        name: &str,
    ) -> Result<(), EngineError> {
        let versions = self.versions.iter_mut().flat_map(|version| {
            [&mut version.created_by, &mut version.deleted_by, &mut version.destroyed_by]
        });
        attribution::retain(&mut self.actors, versions.chain([&mut self.updated_by]));
        Ok(storage.put(&name_path(name), self.encode_to_vec().into())?)
    }

    /// Takes the name away and leaves the versions where they are.
    pub(super) fn forget(storage: &mut dyn Storage, name: &str) -> Result<(), EngineError> {
        Ok(storage.delete(&name_path(name))?)
    }

    /// Removes the name and every version it has.
    pub(super) fn remove(&self, storage: &mut dyn Storage, name: &str) -> Result<(), EngineError> {
        for version in &self.versions {
            self.remove_data(storage, version.number)?;
        }
        Self::forget(storage, name)
    }

    /// What is known about the version `number`; about the newest for 0.
    pub(super) fn version(&self, number: u64) -> Option<&VersionMetadata> {
        let number = if number == 0 { self.current_version } else { number };
        self.index(number).map(|index| &self.versions[index])
    }

    /// The users' own words; clients expect `null` where there are none.
    pub(super) fn custom_metadata_or_null(&self) -> Option<&BTreeMap<String, String>> {
        (!self.custom_metadata.is_empty()).then_some(&self.custom_metadata)
    }

    pub(super) fn version_mut(&mut self, number: u64) -> Option<&mut VersionMetadata> {
        self.index(number).map(|index| &mut self.versions[index])
    }

    fn index(&self, number: u64) -> Option<usize> {
        self.versions.binary_search_by_key(&number, |version| version.number).ok()
    }

    /// Writes `data` as the next version and gives up those that are more than the name may keep.
    pub(super) fn add_version(
        &mut self,
        storage: &mut dyn Storage,
        config: &ConfigRecord,
        data: Bytes,
        caller: &Caller,
        now_ms: u64,
    ) -> Result<VersionMetadata, EngineError> {
        let version = VersionMetadata {
            number: self.current_version + 1,
            created_ms: now_ms,
            deletion_ms: self.deletion_ms(config, now_ms),
            created_by: self.touch(caller, now_ms),
            ..VersionMetadata::default()
        };
        self.put_data(storage, version.number, data)?;
        self.current_version = version.number;
        self.versions.push(version);
        self.give_up_oldest(storage, config)?;
        Ok(version)
    }

    /// Writes a version's data.
    pub(super) fn put_data(
        &self,
        storage: &mut dyn Storage,
        number: u64,
        data: Bytes,
    ) -> Result<(), EngineError> {
        let row = VersionRecord { data }.encode_to_vec();
        Ok(storage.put(&self.data_path(number)?, row.into())?)
    }

    /// Gives the record an object of its own: the `index`th that this request makes.
    pub(super) fn separate(&mut self, unique: &[u8; 16], index: u16) {
        let mut id = [0; OBJECT_ID_BYTES];
        id.copy_from_slice(&unique[..OBJECT_ID_BYTES]);
        let [high, low] = index.to_be_bytes();
        id[OBJECT_ID_BYTES - 2] ^= high;
        id[OBJECT_ID_BYTES - 1] ^= low;
        self.object_id = Bytes::copy_from_slice(&id);
    }

    /// The data of a version that is neither deleted nor destroyed.
    pub(super) fn data(
        &self,
        storage: &mut dyn Storage,
        number: u64,
    ) -> Result<Bytes, EngineError> {
        let row: Option<VersionRecord> = load(storage, &self.data_path(number)?)?;
        let row = row.ok_or_else(|| EngineError::internal("a version's data is missing"))?;
        Ok(row.data)
    }

    pub(super) fn remove_data(
        &self,
        storage: &mut dyn Storage,
        number: u64,
    ) -> Result<(), EngineError> {
        Ok(storage.delete(&self.data_path(number)?)?)
    }

    fn give_up_oldest(
        &mut self,
        storage: &mut dyn Storage,
        config: &ConfigRecord,
    ) -> Result<(), EngineError> {
        let keep = [self.max_versions, config.max_versions, VERSIONS_DEFAULT]
            .into_iter()
            .find(|limit| *limit > 0)
            .expect("the default is above 0");
        let oldest = (self.current_version + 1).saturating_sub(keep);
        let split = self.versions.partition_point(|version| version.number < oldest);
        let given_up: Vec<_> = self.versions.drain(..split).collect();
        for version in &given_up {
            self.remove_data(storage, version.number)?;
        }
        if !given_up.is_empty() {
            self.oldest_version = oldest;
        }
        Ok(())
    }

    /// When a version written now is to go by itself: the sooner of the name's and the mount's,
    /// unless the mount says never.
    fn deletion_ms(&self, config: &ConfigRecord, now_ms: u64) -> u64 {
        if config.never_deletes {
            return 0;
        }
        [self.delete_version_after_ms, config.delete_version_after_ms]
            .into_iter()
            .filter(|after_ms| *after_ms > 0)
            .min()
            .map_or(0, |after_ms| now_ms.saturating_add(after_ms))
    }

    fn data_path(&self, number: u64) -> Result<String, EngineError> {
        if self.object_id.len() != OBJECT_ID_BYTES {
            return Err(EngineError::internal("a name's object id has the wrong length"));
        }
        let id: String = self.object_id.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("objects/{id}/{number}"))
    }
}

impl VersionMetadata {
    /// Whether it reads as deleted at this time.
    pub(super) fn is_deleted(&self, now_ms: u64) -> bool {
        self.deletion_ms != 0 && self.deletion_ms <= now_ms
    }

    /// Whether its data can be read at this time.
    pub(super) fn is_readable(&self, now_ms: u64) -> bool {
        !self.destroyed && !self.is_deleted(now_ms)
    }
}

fn name_path(name: &str) -> String {
    format!("{NAMES}/{name}")
}

fn load<T: Message + Default>(
    storage: &mut dyn Storage,
    path: &str,
) -> Result<Option<T>, EngineError> {
    let Some(entry) = storage.get(path)? else { return Ok(None) };
    let record = T::decode(entry.value)
        .map_err(|error| EngineError::internal(format!("a KV record cannot be read: {error}")))?;
    Ok(Some(record))
}

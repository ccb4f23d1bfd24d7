//! The keyring's record, as it is before sealing: every field is a secret or next to one.

use zeroize::Zeroize;

/// ```text
/// protobuf, sealed under a key derived from the root key:
///   1 format       uint32, 1
///   2 data_keys    repeated DataKeyRow, ascending by term; the last one seals
///   3 name_keys    repeated NameKeyRow, ascending by id; the last one seals
///   4 hash_secret  32 bytes; the keys of all keyed hashes derive from it
/// ```
#[derive(prost::Message)]
#[prost(skip_debug)]
pub(crate) struct KeyringRow {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) data_keys: Vec<DataKeyRow>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) name_keys: Vec<NameKeyRow>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) hash_secret: Vec<u8>,
}

/// ```text
///   1 term          uint32, from 1
///   2 key           32 bytes, AES-256-GCM
///   3 installed_ms  uint64, the cluster's stamped time when the key was made
///   4 epoch         uint64, the cluster's epoch then; it seals in no later one
/// ```
#[derive(prost::Message)]
#[prost(skip_debug)]
pub(crate) struct DataKeyRow {
    #[prost(uint32, tag = "1")]
    pub(crate) term: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) key: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(crate) installed_ms: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) epoch: u64,
}

/// ```text
///   1 id      uint32, 1..=255
///   2 secret  32 bytes; the keys of all mounts' names derive from it
/// ```
#[derive(prost::Message)]
#[prost(skip_debug)]
pub(crate) struct NameKeyRow {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) secret: Vec<u8>,
}

impl Drop for KeyringRow {
    fn drop(&mut self) {
        self.hash_secret.zeroize();
    }
}

impl Drop for DataKeyRow {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Drop for NameKeyRow {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

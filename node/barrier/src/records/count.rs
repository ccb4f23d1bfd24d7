//! The record of reserved messages.

/// ```text
/// protobuf, sealed under a key derived from the root key; one row for each data key's term:
///   1 format    uint32, 1
///   2 reserved  uint64, messages that nodes may have sealed under the key; never goes down
/// ```
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CountRow {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) reserved: u64,
}

//! The seal record: how to get at the root key.

/// ```text
/// protobuf, in clear:
///   1 format           uint32, 1
///   2 cluster_id       16 bytes
///   3 cluster_name     string
///   4 recipients       repeated RecipientRow
/// ```
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SealRow {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) cluster_id: bytes::Bytes,
    #[prost(string, tag = "3")]
    pub(crate) cluster_name: String,
    #[prost(message, repeated, tag = "4")]
    pub(crate) recipients: Vec<RecipientRow>,
}

/// ```text
///   1 kind              string
///   2 shares            uint32, 1..=255
///   3 threshold         uint32, 1..=255
///   4 wrapped_root_key  sealed record of 65 bytes, see `aead`
/// ```
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RecipientRow {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(uint32, tag = "2")]
    pub(crate) shares: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) threshold: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) wrapped_root_key: bytes::Bytes,
}

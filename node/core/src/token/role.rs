//! Token roles: what tokens made by `auth/token/create/:role` are like.

use prost::Message;

/// A role. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RoleRecord {
    /// The only policies its tokens may have; empty: those of the caller.
    #[prost(string, repeated, tag = "1")]
    pub(crate) allowed_policies: Vec<String>,
    /// Policies its tokens must not have.
    #[prost(string, repeated, tag = "2")]
    pub(crate) disallowed_policies: Vec<String>,
    /// As `allowed_policies`, with globs.
    #[prost(string, repeated, tag = "3")]
    pub(crate) allowed_policies_glob: Vec<String>,
    /// As `disallowed_policies`, with globs.
    #[prost(string, repeated, tag = "4")]
    pub(crate) disallowed_policies_glob: Vec<String>,
    /// Its tokens have no parent.
    #[prost(bool, tag = "5")]
    pub(crate) orphan: bool,
    /// Its tokens cannot be renewed.
    #[prost(bool, tag = "6")]
    pub(crate) fixed: bool,
    /// Appended to the path its tokens are made at, so that they can be revoked by prefix.
    #[prost(string, tag = "7")]
    pub(crate) path_suffix: String,
    /// 0: none.
    #[prost(uint64, tag = "8")]
    pub(crate) explicit_max_ttl_ms: u64,
    /// 0: none.
    #[prost(uint64, tag = "9")]
    pub(crate) period_ms: u64,
    /// 0: as often as they like.
    #[prost(uint64, tag = "10")]
    pub(crate) num_uses: u64,
    /// Networks its tokens work from.
    #[prost(string, repeated, tag = "11")]
    pub(crate) bound_cidrs: Vec<String>,
    /// Whether `default` is left out.
    #[prost(bool, tag = "12")]
    pub(crate) no_default_policy: bool,
    /// `default-service`, `service`, `default-batch`, `batch`; empty is the first.
    #[prost(string, tag = "13")]
    pub(crate) kind: String,
    /// Names of entity aliases its tokens may carry.
    #[prost(string, repeated, tag = "14")]
    pub(crate) allowed_entity_aliases: Vec<String>,
}

//! What an auth method asks the core to make a token of.

use std::collections::BTreeMap;

/// Which kind of token a login yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenKind {
    /// What the mount says; a service token where it says nothing.
    #[default]
    Default,
    /// Stored: can be looked up, renewed, revoked, and have children.
    Service,
    /// Not stored: its text carries all there is.
    Batch,
}

/// A login that an auth method grants. It names no secret; the core makes the token, caps its
/// times by mount and system, and commits it with whatever else the login wrote.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// What identifies the user to this mount: the name of its entity's alias.
    pub alias: String,
    /// For people, after the mount's name: `anna` becomes `userpass-anna`.
    pub display_name: String,
    /// The policies of the role or user; `default` is added by the core.
    pub policies: Vec<String>,
    /// Kept with the token and shown: no secret.
    pub metadata: BTreeMap<String, String>,
    /// 0: the mount's default.
    pub ttl_ms: u64,
    /// 0: the mount's longest.
    pub max_ttl_ms: u64,
    /// Not 0: renewed to this for ever.
    pub period_ms: u64,
    /// Not 0: ends at the latest then, whatever is renewed.
    pub explicit_max_ttl_ms: u64,
    /// 0: as often as it likes.
    pub num_uses: u64,
    /// The token works from these networks only; empty: from everywhere.
    pub bound_cidrs: Vec<String>,
    /// Whether `default` is left out.
    pub no_default_policy: bool,
    /// Its kind.
    pub kind: TokenKind,
}

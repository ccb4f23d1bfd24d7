//! What is stored about a token.

use std::collections::BTreeMap;

use prost::Message;

/// Which kind of token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    /// Stored; can be renewed, revoked, and have children.
    Service = 0,
    /// Carries its own record; ends by time or with its parent, and can do none of that.
    Batch = 1,
}

/// A token, under the keyed hash of its text. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct TokenRecord {
    /// When it was made.
    #[prost(uint64, tag = "1")]
    pub(crate) created_ms: u64,
    /// For people: `root`, `token-build`.
    #[prost(string, tag = "2")]
    pub(crate) display_name: String,
    /// The names of its policies, sorted, each once.
    #[prost(string, repeated, tag = "3")]
    pub(crate) policies: Vec<String>,
    /// The handle by which it can be looked up and revoked without being known.
    #[prost(string, tag = "4")]
    pub(crate) accessor: String,
    /// The keyed hash of the token that made it; empty: an orphan.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) parent: Vec<u8>,
    /// Where it was made: `auth/token/create`.
    #[prost(string, tag = "6")]
    pub(crate) path: String,
    /// Given by its maker, shown to whoever looks it up.
    #[prost(btree_map = "string, string", tag = "7")]
    pub(crate) metadata: BTreeMap<String, String>,
    /// How long it was given; 0: for ever.
    #[prost(uint64, tag = "8")]
    pub(crate) ttl_ms: u64,
    /// When it ends, in stamped time; 0: never.
    #[prost(uint64, tag = "9")]
    pub(crate) expires_ms: u64,
    /// The longest it may live from its making on, whatever is renewed; 0: no such bound.
    #[prost(uint64, tag = "10")]
    pub(crate) explicit_max_ttl_ms: u64,
    /// Not 0: each renewal is for this long, for ever.
    #[prost(uint64, tag = "11")]
    pub(crate) period_ms: u64,
    /// How often it can still be used; 0: as often as it likes.
    #[prost(uint64, tag = "12")]
    pub(crate) uses_left: u64,
    /// Its kind.
    #[prost(enumeration = "Kind", tag = "13")]
    pub(crate) kind: i32,
    /// Networks it works from; empty: from everywhere.
    #[prost(string, repeated, tag = "14")]
    pub(crate) bound_cidrs: Vec<String>,
    /// The role that made it; empty: none.
    #[prost(string, tag = "15")]
    pub(crate) role: String,
    /// Whether it can be renewed.
    #[prost(bool, tag = "16")]
    pub(crate) renewable: bool,
    /// When it was last renewed; 0: never.
    #[prost(uint64, tag = "17")]
    pub(crate) renewed_ms: u64,
    /// It was revoked alone: it opens nothing, but its children live on as orphans.
    #[prost(bool, tag = "18")]
    pub(crate) revoked_alone: bool,
    /// The longest it may live in all by its role or mount, from its making on; 0: the system's.
    #[prost(uint64, tag = "19")]
    pub(crate) max_ttl_ms: u64,
}

impl TokenRecord {
    /// Whether it may still stand above its children at this time.
    pub(crate) fn stands(&self, now_ms: u64) -> bool {
        self.revoked_alone || self.expires_ms == 0 || now_ms < self.expires_ms
    }

    /// Whether it opens anything at this time, as far as its own row tells.
    pub(crate) fn lives(&self, now_ms: u64) -> bool {
        !self.revoked_alone && self.stands(now_ms)
    }

    /// Whether its chain of ancestors ends here.
    pub(crate) fn is_orphan(&self) -> bool {
        self.parent.is_empty()
    }

    /// Seconds until it ends; 0 where it never does.
    pub(crate) fn ttl_s(&self, now_ms: u64) -> u64 {
        self.expires_ms.saturating_sub(now_ms).div_ceil(1000)
    }

    /// Whether it is stored nowhere, so that it cannot be changed, found by accessor or be a parent.
    pub(crate) fn is_batch(&self) -> bool {
        self.kind() == Kind::Batch
    }

    /// Whether it may do everything.
    pub(crate) fn is_root(&self) -> bool {
        self.policies.iter().any(|policy| policy == super::ROOT_POLICY)
    }
}

/// What is stored under the keyed hash of an accessor.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AccessorRecord {
    /// The keyed hash of the token's text.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) token_hash: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layouts on disk: a change here locks everybody out.
    #[test]
    fn golden_layouts() {
        let mut record = TokenRecord {
            created_ms: 1,
            display_name: "d".into(),
            policies: vec!["p".into(), "q".into()],
            accessor: "a".into(),
            ..TokenRecord::default()
        };
        assert_eq!(hex::encode(record.encode_to_vec()), "08011201641a01701a0171220161");
        record = TokenRecord {
            parent: vec![9],
            path: "x".into(),
            ttl_ms: 2,
            expires_ms: 3,
            explicit_max_ttl_ms: 4,
            period_ms: 5,
            uses_left: 6,
            bound_cidrs: vec!["c".into()],
            role: "r".into(),
            renewable: true,
            renewed_ms: 7,
            revoked_alone: true,
            max_ttl_ms: 8,
            ..TokenRecord::default()
        };
        record.metadata.insert("k".into(), "v".into());
        assert_eq!(
            hex::encode(record.encode_to_vec()),
            "2a01093201783a060a016b1201764002480350045805600672016\
             37a01728001018801079001019801\
             08"
            .replace(' ', "")
        );
        let pointer = AccessorRecord { token_hash: vec![9] };
        assert_eq!(hex::encode(pointer.encode_to_vec()), "0a0109");
    }

    #[test]
    fn time_ends_a_token_and_what_hangs_on_it() {
        let record = TokenRecord { expires_ms: 10, ..TokenRecord::default() };
        assert!(record.lives(9) && !record.lives(10) && !record.stands(10));
        let alone = TokenRecord { revoked_alone: true, ..record };
        assert!(!alone.lives(9) && alone.stands(10), "its children go on");
        assert!(TokenRecord::default().lives(u64::MAX));
    }
}

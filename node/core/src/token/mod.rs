//! Tokens: their text, their record, and what a good one yields.
//!
//! ```text
//! tokens/<keyed hash of the text>          the record
//! accessors/<keyed hash of the accessor>   which token it stands for
//! token-roles/<name>                       what tokens made by a role are like
//! ```
//!
//! A token's text is stored nowhere. A batch token is stored nowhere either: it carries its record. A
//! token lives only while every ancestor's row stands and has not ended, so that revoking a tree of
//! any size is the removal of one row, seen at once on every node; what is left of the tree opens
//! nothing any more, and is swept later.
//! Each row on the way up is read in the request's own view and becomes a condition of its commit.

mod authenticate;
mod batch;
mod make;
mod record;
mod role;
mod store;
mod sweep;
mod text;

pub(crate) use authenticate::{Caller, authenticate, charge_use, lives};
pub(crate) use make::{
    Bounds, DEFAULT_TTL_MS, MAX_TTL_MS, NewToken, create_root, explicit_end, make,
};
pub(crate) use record::{Kind, TokenRecord};
pub(crate) use role::RoleRecord;
pub(crate) use store::{
    delete, delete_role, find, find_by_accessor, hash, load, load_role, put, put_role, revoke_alone,
};
pub(crate) use sweep::{TokenSweep, ask as ask_for_sweep, step as sweep_step};
pub(crate) use text::make_text;

/// The policy that may do everything.
pub(crate) const ROOT_POLICY: &str = "root";

/// The policy that every token has unless it was made without.
pub(crate) const DEFAULT_POLICY: &str = "default";

/// The longest token or accessor that is looked up.
pub(crate) const TEXT_BYTES_MAX: usize = 512;

/// The longest batch token: with other headers it still fits into what proxies let through.
const BATCH_TEXT_BYTES_MAX: usize = 4096;

/// The longest chain of ancestors; making a child of the last one is refused.
pub(crate) const ANCESTORS_MAX: usize = 32;

//! What the barrier's own rows hold: one file a record, tags never reused.

pub(crate) mod count;
pub(crate) mod keyring;
pub(crate) mod seal;

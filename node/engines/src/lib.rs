//! Secrets engines, one folder each, one file an operation.
//!
//! Every engine is written against `conclave-mount` alone: it sees authorised requests and its own
//! rows. It must never know tokens, policies, the barrier, the log, or another engine.

mod kv;
mod kv1;

mod cubbyhole;

mod listing;
mod plain;

pub use cubbyhole::Cubbyhole;
pub use kv::Kv;

//! The data directory.
//!
//! Owns everything a node keeps on disk: the Raft log and vote, the state machine, snapshots, and
//! the small identity files. Its invariant: what it said is durable is read back after any crash or
//! power cut as it was, or the node is told that it is damaged; never something else. It sees
//! ciphertext only and knows no key, no consensus library and no network.

pub mod directory;
pub mod disk;
pub mod identity;
pub mod log;
pub mod seen;
pub mod snapshot;
pub mod state;

pub use conclave_proto::v1;

#[cfg(test)]
mod golden;

//! The thin client of a Conclave cluster: it finds the leader and retries safely.
//!
//! It owns connections to the nodes, what it learnt about leader and members, and one session of
//! request ids. Its invariant: **a request that may have been executed is sent again only if that
//! cannot execute it twice**; where that cannot be had, the caller gets
//! [`Error::OutcomeUnknown`] and decides. It must never know how a node works inside.
//!
//! Writes go straight to the leader, where it is known; any other node hands them on. Reads are
//! linearizable on every node and spread over them by [`ReadPreference`].

mod address;
mod client;
mod cluster;
mod config;
mod error;
mod kv;
mod logical;
mod operator;
mod retry;
mod runtime;
mod session;
mod snapshot;
mod stream;
mod tls;

pub use address::Address;
pub use client::Client;
pub use conclave_proto::ErrorCode;
pub use config::{
    CertificateAuthority, Config, ReadLevel, ReadPreference, RetryLimits, Timeouts, Token,
};
pub use error::Error;
pub use kv::{Kv, PutResult, Secret, SecretData};
pub use logical::{Logical, LogicalResponse, Operation};
pub use operator::{InitResult, JoinToken, MemberStatus, Membership, NodeStatus, Operator};
pub use snapshot::{Restored, SnapshotDownload};

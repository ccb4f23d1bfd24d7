//! The request core: from a client's request to one committed log entry and its answer.
//!
//! Start with `pipeline.rs`: every request of both doors goes through it. The core owns the mount
//! table, tokens, `sys/` routes, join tokens and the cluster's own sealed secrets. What it keeps:
//!
//! - A path is canonical before anything looks at it, and everything looks at the same path.
//! - An engine runs only with a [`Permit`](authority::Permit), which only a living token with a
//!   policy for the request yields, or a route that asks for no token.
//! - Token, mount table and data of one request come from one view, behind a read barrier, and
//!   stand as conditions in what is committed.
//! - Only keyed hashes of tokens are stored.
//!
//! It must never know a concrete engine (a registry is handed in), the log, the disk, or HTTP.

// The order to read in.
mod pipeline;

pub mod audit;
mod audited;
mod call;
mod canonical;
mod limits;

mod authority;
mod policies;
mod policy;
mod token;

mod mounts;
mod pattern;

mod shown;
mod storage;

mod lock_out;
mod login;

mod password_policies;
mod password_policy;
mod quotas;

mod help;
mod idempotency;
mod node_routes;
mod openapi;
mod reply;

mod auth_token;
mod ceremony_budget;
mod routes;
mod sys;

// What the above stands on.
mod core;
mod errors;
mod registry;
mod request;
mod rows;
mod sweep;
mod turns;
mod update;
mod uuid;

// What the node asks for beside requests.
mod cluster_secrets;
mod initialise;
mod join_tokens;
pub mod key_ceremonies;
mod operator;

#[cfg(test)]
mod api_inventory;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::core::{Core, CoreParts};
pub use audited::{AuditHead, AuditPlaces, Ceremony, CeremonyTrail, NoAuditPlaces, WantedDevice};
pub use canonical::CanonicalPath;
pub use cluster_secrets::BACKUP_PUBLIC_KEY;
pub use conclave_mount::{Access, EngineError as Error, ErrorCode, Operation};
pub use idempotency::{IdempotencyKey, KEY_NOT_KEPT};
pub use join_tokens::JoinToken;
pub use limits::is_root_namespace;
pub use operator::{Member, MemberHealth, MemberList, Operator};
pub use pipeline::Admitted;
pub use quotas::Standing;
pub use registry::EngineRegistry;
pub use request::{Idempotency, ReadLevel, Request, RequestNumber, Response, Token};
pub use sys::{API_VERSION, CorsRules};

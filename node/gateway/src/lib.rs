//! Two doors to one core: the Vault-compatible HTTP API and gRPC, on one port.
//!
//! This crate owns translation: bytes of either protocol become one [`conclave_core::Request`], and
//! its answer becomes bytes again. Its invariant: whatever a caller sends is answered with a typed
//! refusal within bounded memory and time, and both doors say the same about the same request. It
//! never decides who may do what, and never learns of the barrier, of Raft or of the disk.

mod gateway;
mod service;

mod http;

mod grpc;

mod admission;
mod backup;
mod caller;
mod codes;
mod config;
mod inbound;
mod json;
mod pace;
mod path;
mod refusal;
mod runtime;
mod telemetry;
mod wire;

#[cfg(test)]
mod tests;

pub use codes::{from_wire_code, wire_code};
pub use conclave_core::API_VERSION;
pub use config::{GatewayConfig, JsonLimits};
pub use gateway::Gateway;
pub use service::{InitRequest, InitResponse, JoinRequest, NodeStatus, Service, SnapshotBytes};

//! The contract: what is written to disk, what nodes say to each other, what clients say to nodes,
//! and what each error means in HTTP, gRPC and for a retry.
//!
//! This crate owns shapes, not behaviour. Every tag is for ever.

mod error_code;

pub use error_code::{ErrorCode, Retry};

/// Protobuf messages and services of `conclave/v1/*.proto`, as prost and tonic generate them.
#[expect(missing_docs, reason = "the comments of the .proto files are the documentation")]
#[expect(clippy::allow_attributes_without_reason, reason = "generated code")]
#[expect(clippy::too_many_lines, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("conclave.v1");
}

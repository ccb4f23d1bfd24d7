//! The contract: what is written to disk, what nodes say to each other, what clients say to nodes,
//! and what each error means in HTTP, gRPC and for a retry.
//!
//! This crate owns shapes, not behaviour. Every tag is for ever.

mod error_code;

pub use error_code::{ErrorCode, Retry};

/// Protobuf messages and services of `conclave/v1/*.proto`, as prost and tonic generate them.
///
/// What carries a client's token and values in clear between nodes cannot be printed:
///
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_proto::v1::ForwardedRequest>();
/// ```
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_proto::v1::ForwardedReply>();
/// ```
/// ```
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_proto::v1::ForwardRequest>();
/// ```
#[expect(missing_docs, reason = "the comments of the .proto files are the documentation")]
#[expect(clippy::allow_attributes_without_reason, reason = "generated code")]
#[expect(clippy::too_many_lines, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("conclave.v1");
}

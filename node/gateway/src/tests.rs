//! Both doors against a service of which the tests know every answer, over in-memory streams.

mod cors;
mod errors;
mod floods;
mod grpc;
mod http2;
mod keys;
mod paths;
mod quotas;
mod routes;
mod snapshot;
mod support;

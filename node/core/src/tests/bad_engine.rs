//! What the core does about an engine that breaks its contract.

use std::sync::Arc;

use bytes::Bytes;
use conclave_mount::{
    Engine, EngineError, MountOptions, Request as MountRequest, Response as MountResponse, Route,
    Storage,
};
use futures::future::BoxFuture;
use serde_json::json;

use crate::testing::{Bench, code, finish};
use crate::{Access, ErrorCode, Operation};

/// Writes a row whatever it is asked for, and then fails where it is asked to write.
struct WritesAndFails;

impl Engine for WritesAndFails {
    fn kind(&self) -> &'static str {
        "kv"
    }

    fn routes(&self, _: &MountOptions) -> &'static [Route] {
        &[]
    }

    fn access(&self, _: &MountOptions, operation: Operation, _: &str) -> Access {
        if operation == Operation::Write { Access::Write } else { Access::Read }
    }

    fn handle<'a>(
        &'a self,
        request: &'a MountRequest,
        storage: &'a mut dyn Storage,
    ) -> BoxFuture<'a, Result<MountResponse, EngineError>> {
        Box::pin(async move {
            storage.put("names/half", Bytes::from_static(b"half"))?;
            match request.operation {
                Operation::Write => Err(EngineError::invalid("no")),
                _ => Ok(MountResponse::empty()),
            }
        })
    }
}

#[test]
fn what_was_written_before_an_error_is_not_committed() {
    let bench = Bench::new();
    let core = bench.core_with(Arc::new(WritesAndFails));
    let session = bench.open_session();
    let plain = bench.request(Operation::Write, "secret/data/half", b"{}");
    let tagged = bench.tagged(Operation::Write, "secret/data/half", &json!({}), &session, 1);
    for request in [plain, tagged] {
        assert_eq!(code(finish(core.handle(&request))), ErrorCode::InvalidRequest);
        let names = bench.call(Operation::List, "secret/metadata", &json!({}));
        assert_eq!(code(names), ErrorCode::NotFound);
    }
}

#[test]
fn a_read_that_writes_is_a_fault() {
    let bench = Bench::new();
    let core = bench.core_with(Arc::new(WritesAndFails));
    let request = bench.request(Operation::Read, "secret/data/half", b"");
    let error = finish(core.handle(&request)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    assert_eq!(error.internal, None, "the detail went to the log and nowhere else");
    assert_eq!(
        code(bench.call(Operation::List, "secret/metadata", &json!({}))),
        ErrorCode::NotFound
    );
}

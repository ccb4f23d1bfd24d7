//! Secrets without versions: a name has one value, and a write replaces all of it.
//!
//! What version 1 of KV and the cubbyhole share; each gives the directory that its rows are in.

use std::collections::BTreeMap;

use bytes::Bytes;
use conclave_mount::{
    EngineError, ErrorCode, MountOptions, Operation, Request, Response, Route, Storage,
};
use prost::Message;
use serde_json::value::RawValue;

use crate::listing::{self, NAMES_MAX, Page, Visible};

/// One value. It has no `Debug`: it is secret. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
struct PlainRecord {
    /// A JSON object, byte for byte as the client sent it.
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

/// Serves every operation; a read's answer is all the caller still may add to.
pub(crate) fn serve(
    request: &Request,
    storage: &mut dyn Storage,
    directory: &str,
    visible: Visible<'_>,
) -> Result<Response, EngineError> {
    if request.operation.lists() {
        return names(request, storage, directory, visible);
    }
    if request.path.is_empty() {
        return Err(EngineError::invalid("missing path"));
    }
    let row = format!("{directory}/{}", request.path);
    match request.operation {
        Operation::Read => read(storage, &row),
        Operation::Write => write(request, storage, &row),
        Operation::Delete => {
            storage.delete(&row)?;
            Ok(Response::empty())
        }
        Operation::Patch | Operation::List | Operation::Scan => {
            Err(EngineError::new(ErrorCode::UnsupportedOperation, "unsupported operation"))
        }
    }
}

/// Whether the request's name has a value.
pub(crate) fn exists(
    request: &Request,
    storage: &mut dyn Storage,
    directory: &str,
) -> Result<bool, EngineError> {
    Ok(storage.get(&format!("{directory}/{}", request.path))?.is_some())
}

fn read(storage: &mut dyn Storage, row: &str) -> Result<Response, EngineError> {
    let entry = storage.get(row)?.ok_or_else(EngineError::not_found)?;
    let record = PlainRecord::decode(entry.value)
        .map_err(|error| EngineError::internal(format!("a secret cannot be read: {error}")))?;
    Ok(Response { data: Some(record.data), ..Response::default() })
}

fn write(request: &Request, storage: &mut dyn Storage, row: &str) -> Result<Response, EngineError> {
    let fields: BTreeMap<String, &RawValue> = request.parse()?;
    if fields.is_empty() {
        return Err(EngineError::invalid("missing data fields"));
    }
    let record = PlainRecord { data: Bytes::copy_from_slice(request.body.trim_ascii()) };
    storage.put(row, record.encode_to_vec().into())?;
    Ok(Response::empty())
}

fn names(
    request: &Request,
    storage: &mut dyn Storage,
    directory: &str,
    visible: Visible<'_>,
) -> Result<Response, EngineError> {
    let page = Page::of(request, NAMES_MAX)?;
    let path = format!("{directory}/{}", request.path);
    let path = path.trim_end_matches('/');
    let names = match request.operation {
        Operation::Scan => listing::scan(storage, path, &page, visible),
        _ => listing::list(storage, path, &page, visible),
    };
    names?.answer()
}

/// Whether a mount's lists show only what the caller may read.
pub(crate) fn filters_lists(options: &MountOptions) -> bool {
    options.get("list_filter").is_some_and(|value| value == "true")
}

/// Everything at any name.
pub(crate) const ROUTES: &[Route] = {
    use Operation::{Delete, List, Read, Scan, Write};
    &[Route::new(
        "*path",
        &[Read, Write, Delete, List, Scan],
        "Reads, writes and deletes a secret; lists names.",
    )
    .creates()]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout on disk: a change here makes stored secrets unreadable.
    #[test]
    fn golden_layout() {
        let record = PlainRecord { data: Bytes::from_static(b"{}") };
        assert_eq!(record.encode_to_vec(), [0x0a, 2, b'{', b'}']);
    }
}

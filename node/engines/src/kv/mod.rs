//! KV version 2: secrets with a history.

mod config;
mod data;
mod delete;
mod destroy;
mod metadata;
mod record;
mod undelete;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use conclave_mount::{
    Access, Engine, EngineError, ErrorCode, Operation, Request, Response, Route, Storage,
};
use futures::future::BoxFuture;

use conclave_mount::fields::{Object, WholeList};

/// The engine. One value serves every mount of type `kv`.
#[derive(Debug, Default)]
pub struct Kv {
    _private: (),
}

impl Kv {
    /// The engine; what differs between mounts stands in storage.
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

impl Engine for Kv {
    fn kind(&self) -> &'static str {
        "kv"
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn access(&self, operation: Operation, _path: &str) -> Access {
        match operation {
            Operation::Read | Operation::List => Access::Read,
            Operation::Write | Operation::Delete | Operation::Patch => Access::Write,
        }
    }

    fn handle<'a>(
        &'a self,
        request: &'a Request,
        storage: &'a mut dyn Storage,
    ) -> BoxFuture<'a, Result<Response, EngineError>> {
        Box::pin(async move { dispatch(request, storage) })
    }
}

fn dispatch(request: &Request, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    use Operation::{Delete, List, Read, Write};
    if !is_name(&request.path, request.operation) {
        return Err(EngineError::invalid("the path has an empty segment; write none"));
    }
    let (head, name) = match request.path.split_once('/') {
        Some((head, name)) => (head, Some(name)),
        None => (request.path.as_str(), None),
    };
    match (head, name, request.operation) {
        ("config", None, Read) => config::read(storage),
        ("config", None, Write) => config::write(request, storage),
        ("metadata", name, List) => metadata::list(request, name.unwrap_or_default(), storage),
        ("metadata", Some(name), Read) => metadata::read(name, storage),
        ("metadata", Some(name), Write) => metadata::write(request, name, storage),
        ("metadata", Some(name), Delete) => metadata::delete(name, storage),
        ("data", Some(name), Read) => data::read(request, name, storage),
        ("data", Some(name), Write) => data::write(request, name, storage),
        ("data", Some(name), Delete) => delete::latest(request, name, storage),
        ("delete", Some(name), Write) => delete::versions(request, name, storage),
        ("undelete", Some(name), Write) => undelete::versions(request, name, storage),
        ("destroy", Some(name), Write) => destroy::versions(request, name, storage),
        ("config", None, _)
        | ("data" | "metadata" | "delete" | "undelete" | "destroy", Some(_), _) => {
            Err(EngineError::new(ErrorCode::UnsupportedOperation, "unsupported operation"))
        }
        _ => Err(wrong_path()),
    }
}

/// Whether every segment says something; the path of a LIST may end in a slash.
fn is_name(path: &str, operation: Operation) -> bool {
    let path = if operation == Operation::List { path.trim_end_matches('/') } else { path };
    path.is_empty() || path.split('/').all(|segment| !segment.is_empty())
}

/// People write `secret/app` where the API wants `secret/data/app`; the answer must say so, as a
/// warning beside a `data` that is null, where clients look for it.
fn wrong_path() -> EngineError {
    EngineError::new(
        ErrorCode::NotFound,
        "this mount keeps versions (KV version 2) and has no such path; put 'data/' or \
         'metadata/' between mount and name, or use the 'kv' commands, which do",
    )
    .with_data(Bytes::from_static(b"null"))
}

/// The body of `delete`, `undelete` and `destroy`.
#[derive(serde::Deserialize)]
struct VersionsBody {
    #[serde(default)]
    versions: WholeList,
}

/// The version numbers that the body names, at least one.
fn parse_versions(request: &Request) -> Result<Vec<u64>, EngineError> {
    let Object(VersionsBody { versions: WholeList(versions) }) = request.parse()?;
    if versions.is_empty() {
        return Err(EngineError::invalid(
            "no version number provided; name at least one in 'versions'",
        ));
    }
    Ok(versions)
}

const ROUTES: &[Route] = {
    use Operation::{Delete, List, Read, Write};
    &[
        Route { pattern: "config", operations: &[Read, Write], help: "Settings of the mount." },
        Route {
            pattern: "data/*path",
            operations: &[Read, Write, Delete],
            help: "Reads a version, writes the next one, or deletes the newest.",
        },
        Route {
            pattern: "delete/*path",
            operations: &[Write],
            help: "Deletes versions; they can be undeleted.",
        },
        Route {
            pattern: "undelete/*path",
            operations: &[Write],
            help: "Brings deleted versions back.",
        },
        Route {
            pattern: "destroy/*path",
            operations: &[Write],
            help: "Removes the data of versions for good.",
        },
        Route {
            pattern: "metadata/*path",
            operations: &[Read, Write, List, Delete],
            help: "Lists names; reads and writes a name's settings; removes a name with all its \
                   versions.",
        },
    ]
};

//! KV: secrets by name. The mount's option `version` says which of two engines it is: 1 (also where
//! nothing is said) has no history, 2 is what most of this folder is.

mod attribution;
mod config;
mod copy;
mod data;
mod delete;
mod destroy;
mod detailed;
mod merge;
mod metadata;
mod metadata_fields;
mod record;
mod relocate;
mod subkeys;
mod transfer;
mod undelete;
mod view;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use conclave_mount::{
    Access, BodyFields, Engine, EngineError, ErrorCode, MountOptions, Operation, Request, Response,
    Route, Storage, word,
};
use futures::future::BoxFuture;

use crate::kv1;
use conclave_mount::fields::{Object, WholeList};
use record::NameRecord;

/// The engine. One value serves every mount of type `kv`.
#[derive(Debug, Default)]
pub struct Kv {
    _private: (),
}

impl Kv {
    /// The engine; what differs between mounts stands in storage and in their options.
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

impl Engine for Kv {
    fn kind(&self) -> &'static str {
        "kv"
    }

    fn routes(&self, options: &MountOptions) -> &'static [Route] {
        match Version::of(options) {
            Some(Version::One) => kv1::ROUTES,
            Some(Version::Two) => ROUTES,
            None => &[],
        }
    }

    fn access(&self, _: &MountOptions, operation: Operation, _path: &str) -> Access {
        match operation {
            Operation::Read | Operation::List | Operation::Scan => Access::Read,
            Operation::Write | Operation::Delete | Operation::Patch => Access::Write,
        }
    }

    fn exists(&self, request: &Request, storage: &mut dyn Storage) -> Result<bool, EngineError> {
        match Version::of(&request.mount.options) {
            Some(Version::One) => kv1::exists(request, storage),
            Some(Version::Two) => exists(request, storage),
            None => Ok(true),
        }
    }

    fn handle<'a>(
        &'a self,
        request: &'a Request,
        storage: &'a mut dyn Storage,
    ) -> BoxFuture<'a, Result<Response, EngineError>> {
        Box::pin(async move {
            match Version::of(&request.mount.options) {
                Some(Version::One) => kv1::serve(request, storage),
                Some(Version::Two) => dispatch(request, storage),
                None => Err(EngineError::invalid(
                    "the mount's option 'version' is neither 1 nor 2; tune the mount",
                )),
            }
        })
    }
}

/// Which engine a mount is.
enum Version {
    One,
    Two,
}

impl Version {
    fn of(options: &MountOptions) -> Option<Self> {
        match options.get("version").map(String::as_str) {
            None | Some("" | "1") => Some(Self::One),
            Some("2") => Some(Self::Two),
            Some(_) => None,
        }
    }
}

/// A write to `data/` or `metadata/` makes a name where it is not there yet.
fn exists(request: &Request, storage: &mut dyn Storage) -> Result<bool, EngineError> {
    match request.path.split_once('/') {
        Some(("data" | "metadata", name)) => Ok(NameRecord::load(storage, name)?.is_some()),
        _ => Ok(true),
    }
}

fn dispatch(request: &Request, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    use Operation::{Delete, List, Patch, Read, Scan, Write};
    let (head, name) = match request.path.split_once('/') {
        Some((head, name)) => (head, Some(name)),
        None => (request.path.as_str(), None),
    };
    match (head, name, request.operation) {
        ("config", None, Read) => config::read(storage),
        ("config", None, Write) => config::write(request, storage),
        ("metadata", name, List | Scan) => metadata::list(request, name.unwrap_or(""), storage),
        ("metadata", Some(name), Read) => metadata::read(name, storage),
        ("metadata", Some(name), Write) => metadata::write(request, name, storage),
        ("metadata", Some(name), Patch) => metadata::patch(request, name, storage),
        ("metadata", Some(name), Delete) => metadata::delete(name, storage),
        ("detailed-metadata", name, List | Scan) => {
            detailed::list(request, name.unwrap_or(""), storage)
        }
        ("data", Some(name), Read) => data::read(request, name, storage),
        ("data", Some(name), Write) => data::write(request, name, storage),
        ("data", Some(name), Patch) => data::patch(request, name, storage),
        ("data", Some(name), Delete) => delete::latest(request, name, storage),
        ("subkeys", Some(name), Read) => subkeys::read(request, name, storage),
        ("delete", Some(name), Write) => delete::versions(request, name, storage),
        ("undelete", Some(name), Write) => undelete::versions(request, name, storage),
        ("destroy", Some(name), Write) => destroy::versions(request, name, storage),
        ("move", Some(name), Write) => relocate::names(request, name, storage),
        ("copy", Some(name), Write) => copy::names(request, name, storage),
        ("config", None, _) => Err(unsupported()),
        (head, Some(_), _) if HEADS.contains(&head) => Err(unsupported()),
        _ => Err(wrong_path()),
    }
}

fn unsupported() -> EngineError {
    EngineError::new(ErrorCode::UnsupportedOperation, "unsupported operation")
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

const VERSIONS: BodyFields =
    BodyFields::of::<VersionsBody>(&[word("versions", "The numbers of the versions.").required()]);

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

/// What stands before a name.
const HEADS: [&str; 9] = [
    "data",
    "metadata",
    "detailed-metadata",
    "subkeys",
    "delete",
    "undelete",
    "destroy",
    "move",
    "copy",
];

const ROUTES: &[Route] = {
    use Operation::{Delete, List, Patch, Read, Scan, Write};
    &[
        Route::new("config", &[Read, Write], "Settings of the mount.").takes(&[config::CONFIG]),
        Route::new(
            "data/*path",
            &[Read, Write, Patch, Delete],
            "Reads a version, writes or patches the next one, or deletes the newest.",
        )
        .creates()
        .takes(&[data::DATA]),
        Route::new("subkeys/*path", &[Read], "Reads a version's keys without their values."),
        Route::new("delete/*path", &[Write], "Deletes versions; they can be undeleted.")
            .takes(&[VERSIONS]),
        Route::new("undelete/*path", &[Write], "Brings deleted versions back.").takes(&[VERSIONS]),
        Route::new("destroy/*path", &[Write], "Removes the data of versions for good.")
            .takes(&[VERSIONS]),
        Route::new(
            "metadata/*path",
            &[Read, Write, Patch, List, Scan, Delete],
            "Lists names; reads and writes a name's settings; removes a name with all its \
             versions.",
        )
        .creates()
        .takes(&[metadata_fields::METADATA]),
        Route::new(
            "detailed-metadata/*path",
            &[List, Scan],
            "Lists names together with what is known about them.",
        ),
        Route::new(
            "move/*path",
            &[Write],
            "Gives a secret, or all secrets below a path, another name; their history goes along.",
        )
        .takes(&[transfer::TRANSFER]),
        Route::new(
            "copy/*path",
            &[Write],
            "Copies a secret, or all secrets below a path, with their history.",
        )
        .takes(&[transfer::TRANSFER]),
    ]
};

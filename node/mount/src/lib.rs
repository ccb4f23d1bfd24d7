//! The contract that secrets engines and auth methods are written against.
//!
//! An engine sees requests whose paths are relative to its mount, and a [`Storage`] that holds only
//! its own rows. It knows no token, no policy, no log and no other mount; the core has authorised
//! the request before the engine sees it, and commits what the engine wrote after it returns.
//!
//! # How to add an engine
//!
//! 1. A folder in `node/engines/src` (an auth method: `node/auth/src`), one file an operation.
//! 2. A record per kind of row: a `prost` message whose tags are never reused, with a golden test.
//! 3. A table of [`Route`]s: help, OpenAPI, policy and metrics are made of it. A login is
//!    [`Route::public`], and [`Engine::login_name`] says whom it claims to be.
//! 4. The five functions of [`Engine`]. [`Engine::handle`] may run more than once for a request (it
//!    lost a race): its only effects are its answer and what it wrote through `storage`. Time comes
//!    from [`Request::now_ms`], ids from [`Request::unique`]; what computes long goes to
//!    [`Workers`].
//! 5. Bodies by [`Request::parse`] into structs of [`fields`], which take numbers as strings and
//!    the like, and never echo a value; [`Route::takes`] names them, with a word about each field.
//!    Errors by [`EngineError`].
//! 6. Tests on [`testing::Mount`]: golden answers, the routes against what the engine does
//!    ([`testing::check_routes`]), every field with every wrong type ([`testing::wrong_bodies`]), a
//!    random comparison with a naive model.
//! 7. One line in the registry of `node/server/src/node/mod.rs`.
//!
//! A whole engine, which counts:
//!
//! ```
//! use conclave_mount::fields::{Object, Whole, present};
//! use conclave_mount::{
//!     Access, BodyFields, Engine, EngineError, ErrorCode, MountOptions, Operation, Request, Response,
//!     Route, Storage, StorageError, testing::Mount, word,
//! };
//! use futures::future::{BoxFuture, FutureExt};
//! use serde_json::json;
//!
//! /// Counters by name.
//! struct Counters;
//!
//! #[derive(serde::Deserialize)]
//! struct Count {
//!     #[serde(default, deserialize_with = "present")]
//!     by: Option<Whole>,
//! }
//!
//! const COUNT: BodyFields = BodyFields::of::<Count>(&[word("by", "How much to add; 1 where nothing is said.")]);
//!
//! fn count(storage: &mut dyn Storage, path: &str) -> Result<Option<u64>, EngineError> {
//!     let Some(row) = storage.get(path)? else { return Ok(None) };
//!     let bytes: [u8; 8] = row.value.as_ref().try_into().map_err(|_| {
//!         EngineError::from(StorageError::Damaged("a counter has the wrong length".into()))
//!     })?;
//!     Ok(Some(u64::from_be_bytes(bytes)))
//! }
//!
//! fn serve(request: &Request, storage: &mut dyn Storage) -> Result<Response, EngineError> {
//!     let Some(("counters", name)) = request.path.split_once('/') else {
//!         return Err(EngineError::new(ErrorCode::NotFound, "no such path; see the help"));
//!     };
//!     let path = format!("counters/{name}");
//!     match request.operation {
//!         Operation::Read => {
//!             let count = count(storage, &path)?.ok_or_else(EngineError::not_found)?;
//!             Response::json(&json!({ "count": count }))
//!         }
//!         Operation::Write => {
//!             let Object(Count { by }) = request.parse()?;
//!             let Whole(by) = by.unwrap_or(Whole(1));
//!             let count = count(storage, &path)?.unwrap_or(0).saturating_add(by);
//!             storage.put(&path, count.to_be_bytes().to_vec().into())?;
//!             Ok(Response::empty())
//!         }
//!         _ => Err(EngineError::new(ErrorCode::UnsupportedOperation, "unsupported operation")),
//!     }
//! }
//!
//! impl Engine for Counters {
//!     fn kind(&self) -> &'static str {
//!         "counters"
//!     }
//!
//!     fn routes(&self, _: &MountOptions) -> &'static [Route] {
//!         const ROUTES: &[Route] = &[Route::new(
//!             "counters/:name",
//!             &[Operation::Read, Operation::Write],
//!             "Reads a counter or counts.",
//!         )
//!         .creates()
//!         .takes(&[COUNT])];
//!         ROUTES
//!     }
//!
//!     fn access(&self, _: &MountOptions, operation: Operation, _: &str) -> Access {
//!         if operation == Operation::Read { Access::Read } else { Access::Write }
//!     }
//!
//!     fn exists(&self, request: &Request, storage: &mut dyn Storage) -> Result<bool, EngineError> {
//!         Ok(count(storage, &request.path)?.is_some())
//!     }
//!
//!     fn handle<'a>(
//!         &'a self,
//!         request: &'a Request,
//!         storage: &'a mut dyn Storage,
//!     ) -> BoxFuture<'a, Result<Response, EngineError>> {
//!         async move { serve(request, storage) }.boxed()
//!     }
//! }
//!
//! let mut mount = Mount::new(Counters, &[]);
//! assert!(!mount.exists("counters/visits").unwrap());
//! mount.write("counters/visits", &json!({})).unwrap();
//! mount.write("counters/visits", &json!({"by": "41"})).unwrap();
//! assert_eq!(mount.read("counters/visits", &[]).unwrap(), json!({"count": 42}));
//! let refused = mount.write("counters/visits", &json!({"by": -1})).unwrap_err();
//! assert_eq!(refused.code, ErrorCode::InvalidRequest);
//! conclave_mount::testing::check_routes(&mut Mount::new(Counters, &[]));
//! ```

mod body_fields;
mod duration;
mod engine;
mod error;
pub mod fields;
mod login;
mod networks;
pub mod path;
mod request;
mod storage;
pub mod testing;
mod time;
mod token_fields;
mod workers;

pub use body_fields::{BodyFields, Field, Kind, Word, word};
pub use duration::{format_duration, parse_duration};
pub use engine::{Access, Class, Engine, Route};
pub use error::{EngineError, ErrorCode};
pub use login::{Login, TokenKind};
pub use networks::Networks;
pub use request::{Caller, MountOptions, MountView, Operation, Request, Response, Rights};
pub use storage::{Entry, ListPage, Storage, StorageError};
pub use time::format_time;
pub use token_fields::{TokenFields, TokenFieldsBody, TokenFieldsView, check_policy_name};
pub use workers::{Workers, compute};

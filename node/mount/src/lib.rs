//! The contract that secrets engines and auth methods are written against.
//!
//! An engine sees requests whose paths are relative to its mount, and a [`Storage`] that holds only
//! its own rows. It knows no token, no policy, no log and no other mount; the core has authorised
//! the request before the engine sees it, and commits what the engine wrote after it returns.

mod duration;
mod engine;
mod error;
pub mod fields;
mod request;
mod storage;

pub use duration::{format_duration, parse_duration};
pub use engine::{Access, Engine, Route};
pub use error::{EngineError, ErrorCode};
pub use request::{Operation, Request, Response};
pub use storage::{Entry, ListPage, Storage, StorageError};

//! Auth methods, one folder each, one file an operation.
//!
//! A method decides whether a proof is good and says which policies and times belong to it; the core
//! makes the token. Methods are written against `conclave-mount` alone and must never know tokens,
//! the barrier, the log, or another method.

mod userpass;

pub use userpass::Userpass;

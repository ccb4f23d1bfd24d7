//! The audit log: who asked for what and was told what, without the values.
//!
//! Owns the records, the hiding of values, the hash chain of each device, its verification, filters,
//! and the broker that a request passes twice: before it is executed and before it is answered. What
//! it keeps:
//!
//! - Fail closed. Where no device takes a record, [`Audit`] says [`Blocked`] and the request must end.
//! - Every scalar of a body is `HMAC-SHA-256` under the device's own key, numbers and booleans too.
//!   Readable are names of fields, paths, and what a mount's settings name. `null` stays `null`: it
//!   says that something is absent.
//! - Each line of a device follows from the one before by hash; sequence numbers go on across files
//!   and restarts. What a crash tore is kept and named by the next record, never cut.
//! - Nothing here waits without a bound, and nothing is parsed without one.
//!
//! It must never know files, sockets, tokens' storage or the log: devices are behind [`Sink`], keys
//! and times are handed in.

// The order to read in.
mod broker;
mod record;

mod line;
mod object;
mod values;

mod chain;
mod marker;
mod tail;
mod verify;

mod filter;
mod headers;
mod key;

mod device;
mod sink;
mod writer;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use broker::{Audit, Blocked, UnknownDevice};
pub use chain::{BadHead, Head};
pub use device::{Device, DeviceOptions};
pub use filter::{Filter, FilterError};
pub use headers::HeaderRules;
pub use key::HashKey;
pub use record::{
    AuthPart, GrantingPolicy, MountPart, NamespacePart, PolicyResults, Record, RequestPart,
    ResponsePart, WrapPart,
};
pub use sink::{AppendError, Sink, SinkError};
pub use tail::{Ending, TAIL_BYTES_MAX, Tail, Torn};
pub use verify::{Expectation, Fault, FaultKind, Prefix, Report, Verifier, verify};

/// The longest line of a device that has no shorter limit of its own. What is longer is written
/// with one hash of each whole body.
pub const LINE_BYTES_MAX: usize = 4 << 20;

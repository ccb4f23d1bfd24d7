//! How a node gets at the root key: Shamir shares given by people, or a static key of its own; and
//! what else people decide by giving their shares.
//!
//! It owns secret sharing, the ceremonies and the reading of configured keys. The invariant: a
//! set of shares or a key either opens the wrapped root key of the seal record, whose AEAD is the
//! check, or nothing is learned, least of all which share was wrong. It must never know what the
//! root key protects, nor who asks.
//!
//! ```text
//! shares ──combine──→ seal key ─┐
//!                               ├─ opens one recipient of the seal record ──→ root key
//! file or variable ─→ seal key ─┘
//! ```

mod error;

/// Shamir's secret sharing over GF(256), constant-time.
pub mod shamir;

mod given;

mod ceremony;
mod config;

mod attempts;
mod rekey_attempt;

#[cfg(test)]
mod testing;

pub use attempts::{Attempts, RootStep, Seat};
pub use ceremony::{Ceremony, Progress, make_shamir};
pub use config::{SealConfig, auto_unseal, static_recipient};
pub use error::SealError;
pub use rekey_attempt::{RekeyPlan, RekeyStatus, RekeyStep};
pub use shamir::Share;

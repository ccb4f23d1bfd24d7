//! Memory for keys, and the only crate of the node that contains `unsafe`.
//!
//! It owns the pages that secrets live in. The invariant: a secret's bytes stand in pages of their
//! own that are locked in RAM where the system allows it, left out of core dumps, wiped in a forked
//! child, and overwritten with zeros before they are given back. It must never know what a secret
//! is for.
//!
//! The types here have no `Debug`, `Clone`, `PartialEq` or `Serialize`: a secret is not printed, not
//! copied by accident and not compared in variable time. A secret takes at least one page, which is
//! meant: keys are few, and a page that holds one secret can be dropped as a whole.
//!
//! It also sets the allocator's one option that memory for everything else needs
//! ([`give_back_soon`]), since that takes a foreign call.
//!
//! What it cannot do: what a caller copies out of [`SecretBytes::expose`], and what the compiler
//! leaves on the stack while a secret is made, is the caller's.

mod pages;

mod allocator;
mod harden;
mod locked;
mod secret;

pub use allocator::{PURGE_DELAY_MS, give_back_soon, purge_delay_ms};
pub use harden::harden_process;
pub use locked::Locked;
pub use pages::allocations_unlocked;
pub use secret::{SecretBytes, SecretKey};

//! How soon the allocator gives back what is free.
#![allow(unsafe_code, reason = "the allocator's options are set through its C interface")]

use std::ffi::{c_int, c_long};

use libmimalloc_sys::{mi_option_get, mi_option_set_default, mi_option_use_numa_nodes};

/// Milliseconds after which free pages go back to the system.
///
/// By itself mimalloc keeps them a second: with a snapshot of a gigabyte on its way that is a third
/// more memory for buffers that were used once.
pub const PURGE_DELAY_MS: c_long = 100;

/// The binding has no name for this option; in the allocator's header it stands before this one. A
/// test asks the allocator whether the number is right.
const PURGE_DELAY: c_int = mi_option_use_numa_nodes - 1;

/// Has mimalloc give back free pages after [`PURGE_DELAY_MS`], unless `MIMALLOC_PURGE_DELAY` in the
/// environment says otherwise. Call it first in `main`, where no other thread allocates yet.
pub fn give_back_soon() {
    // SAFETY: the option exists in the version this crate is built with and takes any number; the
    // call writes one aligned word of the allocator's own.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
}

/// The delay in force, in milliseconds.
#[must_use]
pub fn purge_delay_ms() -> c_long {
    // SAFETY: as above; it reads that word.
    unsafe { mi_option_get(PURGE_DELAY) }
}

//! Anonymous mappings of whole pages: the one file that touches memory by address.
#![allow(unsafe_code, reason = "mapping, locking and unmapping pages has no safe interface")]

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};
use zeroize::Zeroize;

static ALLOCATIONS_UNLOCKED: AtomicU64 = AtomicU64::new(0);

/// How many secrets of this process could not be locked in RAM since it started.
///
/// Not zero where `RLIMIT_MEMLOCK` is too low for the number of keys; the secrets work all the
/// same, but may reach the swap device. Operators should raise the limit or switch swap off.
pub fn allocations_unlocked() -> u64 {
    ALLOCATIONS_UNLOCKED.load(Ordering::Relaxed)
}

/// A private mapping that holds `len` zeroed bytes, wiped and unmapped on drop.
pub(crate) struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, and no method hands out interior mutability:
// shared access is by `&[u8]`, exclusive access by `&mut [u8]`.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps at least `len` bytes. Ends the process as any allocation does where memory is out.
    pub(crate) fn new(len: usize) -> Self {
        // A mapping of no bytes is an error to the kernel; an empty secret takes a page as well.
        let mapped = len.max(1);
        // SAFETY: the address is chosen by the kernel (null), so no existing mapping is touched.
        let mapping = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let Some(start) = mapping.ok().and_then(|start| NonNull::new(start.cast::<u8>())) else {
            handle_alloc_error(Layout::array::<u8>(mapped).unwrap_or(Layout::new::<u8>()));
        };
        let pages = Self { start, len };
        pages.lock();
        pages.advise();
        pages
    }

    /// Keeps the pages out of swap. A limit that is too low is counted, not fatal: a node that
    /// refused to start over it would be worse off than one that says so.
    fn lock(&self) {
        // SAFETY: the range is the mapping made in `new`, which lives as long as `self`; locking
        // changes no byte of it.
        if unsafe { rustix::mm::mlock(self.address(), self.mapped()) }.is_err() {
            ALLOCATIONS_UNLOCKED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps the pages out of core dumps and out of forked children. Kernels that know neither
    /// (`WIPEONFORK` is of Linux 4.14) leave only what [`crate::harden_process`] does.
    #[cfg(target_os = "linux")]
    fn advise(&self) {
        use rustix::mm::Advice;
        for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
            // SAFETY: both change what a dump or a child sees of this value's own mapping and leave
            // its bytes here as they are.
            let _ = unsafe { rustix::mm::madvise(self.address(), self.mapped(), advice) };
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn advise(&self) {}

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` is valid for reads of `len` initialised bytes (the kernel zeroes them)
        // until drop, and a writer needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    fn address(&self) -> *mut c_void {
        self.start.as_ptr().cast()
    }

    fn mapped(&self) -> usize {
        self.len.max(1)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.as_mut_slice().zeroize();
        // SAFETY: the mapping is this value's own and nobody can hold a reference into it, since
        // every one borrows from `self`. Unmapping also unlocks.
        let unmapped = unsafe { rustix::mm::munmap(self.address(), self.mapped()) };
        debug_assert!(unmapped.is_ok(), "a mapping made here can be unmapped");
    }
}

/// A place for one `T` in pages of its own.
pub(crate) struct Place<T> {
    pages: Pages,
    // Owns a `T`: thread safety and drop check follow it.
    owns: std::marker::PhantomData<T>,
}

impl<T> Place<T> {
    /// Moves `value` in. Pages are aligned to at least 4 KiB, more than any type here asks for.
    pub(crate) fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= 4096, "a page is aligned to at least 4 KiB") };
        let pages = Pages::new(size_of::<T>());
        // SAFETY: the pages have room for a `T`, are aligned for it, and hold nothing yet that
        // would have to be dropped.
        unsafe { pages.start.cast::<T>().write(value) };
        Self { pages, owns: std::marker::PhantomData }
    }

    pub(crate) fn get(&self) -> &T {
        // SAFETY: `new` put a valid `T` there, which only `drop` takes away, and nobody can get at
        // it mutably.
        unsafe { self.pages.start.cast::<T>().as_ref() }
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        // SAFETY: the `T` of `new` is dropped once, here; afterwards only `pages` looks at the
        // memory, as bytes that it overwrites and unmaps.
        unsafe { self.pages.start.cast::<T>().drop_in_place() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_zeroed_and_hold_what_is_written() {
        let mut pages = Pages::new(5000);
        assert!(pages.as_slice().iter().all(|byte| *byte == 0));
        pages.as_mut_slice().fill(0xa5);
        assert_eq!(pages.as_slice(), [0xa5; 5000]);
    }

    #[test]
    fn an_empty_mapping_is_allowed() {
        assert!(Pages::new(0).as_slice().is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pages_are_left_out_of_dumps_and_wiped_in_children() {
        let pages = Pages::new(64);
        let flags = vm_flags(pages.start.as_ptr() as usize);
        assert!(flags.contains(&"dd".to_owned()), "not left out of core dumps: {flags:?}");
        assert!(flags.contains(&"wf".to_owned()), "not wiped on fork: {flags:?}");
        if allocations_unlocked() == 0 {
            assert!(flags.contains(&"lo".to_owned()), "not locked: {flags:?}");
        }
    }

    /// The kernel's own word on the mapping that holds `address`.
    #[cfg(target_os = "linux")]
    fn vm_flags(address: usize) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            if let Some((from, to)) = range
                && let Ok(from) = usize::from_str_radix(from, 16)
                && let Ok(to) = usize::from_str_radix(to, 16)
            {
                inside = (from..to).contains(&address);
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        panic!("no mapping holds {address:x}");
    }

    #[test]
    fn a_place_drops_its_value_once() {
        let shared = std::sync::Arc::new(7);
        let place = Place::new(std::sync::Arc::clone(&shared));
        assert_eq!((**place.get(), std::sync::Arc::strong_count(&shared)), (7, 2));
        drop(place);
        assert_eq!(std::sync::Arc::strong_count(&shared), 1);
    }
}

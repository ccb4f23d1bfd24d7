//! The space on the disk: what a node may still take, and when it counts as full.
//!
//! A full disk is noticed at a reserve, *before* a write fails: what is left then is for deletes,
//! membership and votes. The figures are looked at a few times a second.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use conclave_store::disk::{Disk as _, RealDisk};

use crate::config::SpaceLimits;

/// What the disk has left, and whether that is too little.
pub(super) struct Space {
    disk: Arc<RealDisk>,
    reserve_bytes: AtomicU64,
    full: AtomicBool,
}

impl Space {
    pub(super) fn new(disk: Arc<RealDisk>, limits: SpaceLimits) -> Arc<Self> {
        let space = Self { disk, reserve_bytes: AtomicU64::new(0), full: AtomicBool::new(false) };
        space.set_limits(limits);
        space.look();
        Arc::new(space)
    }

    /// Holds from the next look on.
    pub(super) fn set_limits(&self, limits: SpaceLimits) {
        self.disk.set_bytes_max(limits.data_bytes_max);
        let size_bytes = size_bytes(self.disk.path()).unwrap_or(u64::MAX);
        let size_bytes = size_bytes.min(limits.data_bytes_max.unwrap_or(u64::MAX));
        let reserve_bytes = derive_reserve(limits.reserve_bytes, size_bytes);
        self.reserve_bytes.store(reserve_bytes, Ordering::Release);
    }

    /// Whether what is left is below the reserve, as of the last look.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Whether what is left is enough to write derived state. sled that meets a full disk goes on
    /// failing when there is space again, so it must not meet one.
    pub(super) fn has_room_for_state(&self) -> bool {
        let reserve_bytes = self.reserve_bytes.load(Ordering::Acquire);
        // A disk that cannot even be asked tells its other users more.
        self.disk.free_bytes().map_or(true, |free| free >= reserve_bytes / STATE_PART)
    }

    /// Measures, and decides anew.
    pub(super) fn look(&self) {
        let free_bytes = match self.disk.free_bytes() {
            Ok(free_bytes) => free_bytes,
            Err(error) => {
                tracing::warn!(%error, "the free space of the disk cannot be read");
                return;
            }
        };
        metrics::gauge!("conclave_disk_free_bytes").set(free_bytes as f64);
        let reserve_bytes = self.reserve_bytes.load(Ordering::Acquire);
        let before = self.is_full();
        let full = derive_full(before, free_bytes, reserve_bytes);
        metrics::gauge!("conclave_disk_full").set(f64::from(u8::from(full)));
        self.full.store(full, Ordering::Release);
        match (before, full) {
            (false, true) => tracing::error!(
                free_bytes,
                reserve_bytes,
                "the disk is full: this node takes no writes and leads only where no other can; free space there, or raise storage.raft.data_bytes_max"
            ),
            (true, false) => tracing::info!(free_bytes, "the disk has space again"),
            _ => {}
        }
    }

    /// Looks a few times a second, on a thread that ends with the last handle: a disk that hangs
    /// must not hold up anything else.
    pub(super) fn watch(self: &Arc<Self>) -> io::Result<()> {
        let space = Arc::downgrade(self);
        let watch = move || {
            while let Some(space) = space.upgrade() {
                space.look();
                drop(space);
                std::thread::sleep(LOOK_INTERVAL);
            }
        };
        std::thread::Builder::new().name("space-watch".to_owned()).spawn(watch).map(drop)
    }
}

/// What the file system holds in all.
fn size_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}

/// The configured reserve, but never more than a tenth of all there is.
fn derive_reserve(configured_bytes: u64, size_bytes: u64) -> u64 {
    configured_bytes.min(size_bytes / 10)
}

/// A disk that is full stays so until a quarter of the reserve is free above it: a leader must not
/// come and go with every file that is deleted.
fn derive_full(before: bool, free_bytes: u64, reserve_bytes: u64) -> bool {
    let limit =
        if before { reserve_bytes.saturating_add(reserve_bytes / 4) } else { reserve_bytes };
    free_bytes < limit
}

const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Derived state is written down to this part of the reserve.
const STATE_PART: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_tenth_of_a_small_disk() {
        assert_eq!(derive_reserve(128 << 20, 1 << 40), 128 << 20);
        assert_eq!(derive_reserve(128 << 20, 100 << 20), 10 << 20);
        assert_eq!(derive_reserve(0, 100 << 20), 0);
    }

    #[test]
    fn a_full_disk_needs_more_than_the_reserve_to_be_ready_again() {
        assert!(!derive_full(false, 100, 100));
        assert!(derive_full(false, 99, 100));
        assert!(derive_full(true, 124, 100));
        assert!(!derive_full(true, 125, 100));
        assert!(!derive_full(false, 0, 0), "no reserve, never full");
    }
}

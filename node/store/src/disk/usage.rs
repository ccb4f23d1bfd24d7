//! What a data directory takes on its file system, and the most it may take.
//!
//! What stands in the directory is measured by a walk, at most once in [`WALK_MS_MIN`], because not
//! everything there is written through this crate's port (sled is not). In between, what is
//! allocated through the port is added, and what is given back is not taken away before the next
//! walk: in between the figure is too high rather than too low.

use std::fs;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// A walk is this old at least before the next one.
const WALK_MS_MIN: u64 = 1_000;
/// Where what was measured would refuse something, it may be measured again after this time.
const WALK_FULL_MS_MIN: u64 = 50;
/// The data directory is less deep.
const DEPTH_MAX: usize = 8;
/// No limit.
const UNLIMITED: u64 = u64::MAX;
/// The unit of `st_blocks`, whatever the file system's is.
const BLOCK_BYTES: u64 = 512;

/// The account of one data directory.
#[derive(Debug)]
pub(super) struct Usage {
    root: fs::File,
    bytes_max: AtomicU64,
    /// Allocated since the walk began.
    grown: AtomicU64,
    walk: Mutex<Option<Walk>>,
}

#[derive(Debug, Clone, Copy)]
struct Walk {
    bytes: u64,
    at: Instant,
}

impl Usage {
    pub(super) fn new(root: fs::File) -> Self {
        Self {
            root,
            bytes_max: AtomicU64::new(UNLIMITED),
            grown: AtomicU64::default(),
            walk: Mutex::default(),
        }
    }

    pub(super) fn set_bytes_max(&self, bytes: Option<u64>) {
        self.bytes_max.store(bytes.unwrap_or(UNLIMITED), Ordering::Relaxed);
        // Nothing was counted while there was no limit.
        *self.walk.lock().expect("no holder of the walk panics") = None;
    }

    pub(super) fn bytes_max(&self) -> Option<u64> {
        Some(self.bytes_max.load(Ordering::Relaxed)).filter(|most| *most != UNLIMITED)
    }

    /// What the directory takes.
    pub(super) fn used_bytes(&self) -> io::Result<u64> {
        self.measure(WALK_MS_MIN)
    }

    /// Takes space that a file is about to grow by. `StorageFull` where the limit does not allow
    /// it; nothing is taken then.
    pub(super) fn take(&self, bytes: u64) -> io::Result<()> {
        let Some(most) = self.bytes_max() else { return Ok(()) };
        let fits = |used: u64| used.saturating_add(bytes) <= most;
        if fits(self.measure(WALK_MS_MIN)?) || fits(self.measure(WALK_FULL_MS_MIN)?) {
            self.grown.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "the data directory would take more than the {most} bytes it may: raise storage.raft.data_bytes_max or delete data"
            ),
        ))
    }

    fn measure(&self, age_ms_max: u64) -> io::Result<u64> {
        let mut walk = self.walk.lock().expect("no holder of the walk panics");
        let now = now();
        let known =
            walk.filter(|walk| now.duration_since(walk.at) < Duration::from_millis(age_ms_max));
        let bytes = match known {
            Some(walk) => walk.bytes,
            None => {
                // What grows while it walks is counted twice until the next one.
                let grown = self.grown.load(Ordering::Relaxed);
                let bytes = walk_directory(&self.root, DEPTH_MAX)?;
                self.grown.fetch_sub(grown, Ordering::Relaxed);
                *walk = Some(Walk { bytes, at: now });
                bytes
            }
        };
        Ok(bytes.saturating_add(self.grown.load(Ordering::Relaxed)))
    }
}

#[expect(clippy::disallowed_methods, reason = "only the age of a measurement depends on it")]
fn now() -> Instant {
    Instant::now()
}

/// The blocks of everything below `directory`. What disappears meanwhile takes nothing.
fn walk_directory(directory: &fs::File, depth: usize) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            found => found?,
        };
        let blocks = u64::try_from(found.st_blocks).unwrap_or(0);
        bytes = bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory && depth > 0 {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            match openat(directory, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {}
                opened => bytes = bytes.saturating_add(walk_directory(&opened?.into(), depth - 1)?),
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::disk::{Disk, Open, RealDisk};

    const MIB: u64 = 1 << 20;

    fn full(result: io::Result<()>) -> bool {
        match result {
            Ok(()) => false,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
                true
            }
        }
    }

    /// Tries until a walk is allowed again.
    fn wait_until(mut done: impl FnMut() -> bool) {
        for _ in 0..600 {
            if done() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("it did not happen within six seconds");
    }

    #[test]
    fn what_grows_beyond_the_limit_is_refused_and_heals() {
        let place = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(place.path()).unwrap();
        disk.set_bytes_max(Some(4 * MIB));
        disk.create_dir("log").unwrap();
        let first = disk.open("log/first", Open::New).unwrap();
        first.allocate(3 * MIB).unwrap();
        assert!(disk.free_bytes().unwrap() <= MIB);
        let second = disk.open("log/second", Open::New).unwrap();
        assert!(full(second.allocate(2 * MIB)));
        assert_eq!(second.len().unwrap(), 0);
        assert!(full(second.set_len(2 * MIB)));
        assert!(full(second.write_at(0, &vec![1; 2 << 20])));
        // What was allocated is there to be written, full or not.
        first.write_at(0, &vec![7; 3 << 20]).unwrap();
        disk.remove("log/first").unwrap();
        wait_until(|| !full(second.allocate(2 * MIB)));
        assert!(full(second.allocate(5 * MIB)));
        disk.set_bytes_max(None);
        second.allocate(5 * MIB).unwrap();
        assert!(disk.free_bytes().unwrap() > 0);
        disk.set_bytes_max(Some(MIB));
        assert_eq!(disk.free_bytes().unwrap(), 0);
        assert_eq!(disk.bytes_max(), Some(MIB));
    }

    #[test]
    fn files_that_others_put_there_count_too() {
        let place = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(place.path()).unwrap();
        std::fs::create_dir(place.path().join("state")).unwrap();
        std::fs::write(place.path().join("state/db"), vec![1; 3 << 20]).unwrap();
        disk.set_bytes_max(Some(4 * MIB));
        assert!(disk.used_bytes().unwrap() >= 3 * MIB);
        let file = disk.open("file", Open::New).unwrap();
        assert!(full(file.write_at(0, &vec![1; 2 << 20])));
        std::fs::write(place.path().join("state/db"), b"").unwrap();
        wait_until(|| !full(file.write_at(0, &vec![1; 2 << 20])));
        std::fs::write(place.path().join("state/db"), vec![1; 3 << 20]).unwrap();
        wait_until(|| disk.free_bytes().unwrap() == 0);
    }

    #[test]
    fn many_small_writes_are_counted_between_walks() {
        let place = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(place.path()).unwrap();
        disk.set_bytes_max(Some(MIB));
        let file = disk.open("file", Open::New).unwrap();
        let mut written = 0_u64;
        while written < 2 * MIB && !full(file.write_at(written, &[1; 4 << 10])) {
            written += 4 << 10;
        }
        assert!((MIB / 2..=MIB).contains(&written), "{written} bytes");
    }
}

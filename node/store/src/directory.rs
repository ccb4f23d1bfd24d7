//! The lock on a data directory: one process at a time.
//!
//! Two processes that write one log destroy it, so the lock is taken before anything is read. It
//! is the kernel's (`flock`), so it ends with the process, however that ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};

/// The file that carries the lock.
pub const LOCK_FILE: &str = "lock";

/// Longest process id read from a lock file.
const HOLDER_BYTES_MAX: usize = 20;

/// Held as long as it lives.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks the directory `root`; `shown` is its path for the error text.
    ///
    /// # Errors
    /// `ResourceBusy` where another process holds it, else the operating system's.
    pub fn take(root: &File, shown: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(openat(root, LOCK_FILE, flags, Mode::from_raw_mode(0o600))?);
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(busy(&file, shown)),
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.write_all_at(std::process::id().to_string().as_bytes(), 0)?;
        Ok(Self { _file: file })
    }
}

fn busy(file: &File, shown: &str) -> io::Error {
    let holder = holder(file).map_or(String::new(), |pid| format!(" (pid {pid})"));
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!(
            "data directory {shown} is in use by another process{holder}: stop it, or give this node a directory of its own"
        ),
    )
}

fn holder(file: &File) -> Option<u32> {
    let mut buffer = [0; HOLDER_BYTES_MAX];
    let read = file.read_at(&mut buffer, 0).ok()?;
    std::str::from_utf8(buffer.get(..read)?).ok()?.parse().ok()
}

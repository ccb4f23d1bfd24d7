//! The port to the file system: what the log, the vote, the mark and snapshots are written through.
//!
//! Paths are relative to the data directory and use `/`; the empty path is the directory itself.
//! The real disk is [`RealDisk`]; tests and the simulation use [`MemoryDisk`], which loses what was
//! not synced when its power is cut.

mod files;
mod memory;
mod path;
mod real;
mod usage;

pub use files::{READ_ALL_BYTES_MAX, read_all, write_atomically};
pub use memory::{Damage, DamageKind, MemoryDisk, SyncKind};
pub use real::RealDisk;

use std::io;
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Must exist.
    Existing,
    /// Must not exist; made with mode 0600.
    New,
    /// Either.
    Any,
}

/// A directory tree on which a node keeps its files.
pub trait Disk: Send + Sync + 'static {
    /// Names in a directory, sorted; `NotFound` where it does not exist.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Makes a directory and its parents, mode 0700.
    ///
    /// # Errors
    /// The operating system's.
    fn create_dir(&self, directory: &str) -> io::Result<()>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>>;

    /// Renames a file over another. Durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// The space that files may still take.
    ///
    /// # Errors
    /// The operating system's.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_dir(&self, directory: &str) -> io::Result<()>;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "asking for the length can fail, nobody asks more")]
pub trait File: Send + Sync + 'static {
    /// Fills `buffer` from `offset`; short only at the end of the file.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The operating system's.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's data and length durable.
    ///
    /// # Errors
    /// The operating system's. After an error what was written is unknown: the process must end.
    fn sync(&self) -> io::Result<()>;

    /// Lets go of what memory holds of the file, so that it is next read from the disk itself.
    /// **Everything was synced.** A hint, which a disk may ignore.
    fn drop_cache(&self) {}

    /// Reserves space so that later writes below `bytes` cannot fail for want of it; the file has
    /// at least that length afterwards, zero-filled.
    ///
    /// # Errors
    /// The operating system's.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// The operating system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Its length.
    ///
    /// # Errors
    /// The operating system's.
    fn len(&self) -> io::Result<u64>;
}

//! A disk in memory that knows what is durable. For tests and the simulation.
//!
//! A file's bytes are durable once the file was synced, a directory's entries once the directory
//! was. [`MemoryDisk::power_cut`] keeps those and, of everything later, what chance leaves: nothing,
//! a prefix that ends inside a write, or any subset of its sectors; likewise of directory changes.
//! [`MemoryDisk::crash`] ends a process only: what was written stays. Both cut off every file that
//! is open, as the end of a process does. Nothing here is random but the numbers that
//! [`MemoryDisk::power_cut`] is given.

mod directory;
mod inode;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, File, Open};
use directory::Tree;
use inode::Inode;

/// No limit on space or syncs.
const UNLIMITED: u64 = u64::MAX;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
    switches: Arc<Switches>,
}

/// What the disk is told to do wrong, and what it counts.
struct Switches {
    skip_fsync: AtomicBool,
    /// Syncs that succeed before all others fail.
    good_syncs: AtomicU64,
    fail_writes: AtomicBool,
    space_bytes_max: AtomicU64,
    used_bytes: AtomicU64,
    syncs: AtomicU64,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            skip_fsync: AtomicBool::default(),
            good_syncs: AtomicU64::new(UNLIMITED),
            fail_writes: AtomicBool::default(),
            space_bytes_max: AtomicU64::new(UNLIMITED),
            used_bytes: AtomicU64::default(),
            syncs: AtomicU64::default(),
        }
    }
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the process that uses the disk: what it wrote stays, synced or not; its open files
    /// reach this disk no more.
    pub fn crash(&self) {
        let mut tree = self.tree();
        tree.crash();
        self.recount(&tree);
    }

    /// Cuts the power: what was synced stays, and of the rest what `random` leaves.
    pub fn power_cut(&self, mut random: impl FnMut() -> u64) {
        let mut tree = self.tree();
        tree.power_cut(&mut random);
        self.recount(&tree);
    }

    /// Plants a bug: syncs succeed and make nothing durable.
    pub fn skip_fsync(&self, skip: bool) {
        self.switches.skip_fsync.store(skip, Ordering::Relaxed);
    }

    /// Makes every sync fail. What a file's failed sync was to make durable is readable and never
    /// becomes durable, unless it is written again: the kernel takes such pages for clean.
    pub fn fail_syncs(&self, fail: bool) {
        self.fail_syncs_after(if fail { 0 } else { UNLIMITED });
    }

    /// Makes every sync fail once so many more have succeeded.
    pub fn fail_syncs_after(&self, good: u64) {
        self.switches.good_syncs.store(good, Ordering::Relaxed);
    }

    /// Makes every write fail.
    pub fn fail_writes(&self, fail: bool) {
        self.switches.fail_writes.store(fail, Ordering::Relaxed);
    }

    /// Limits the space that files take in all; beyond it writes fail with `StorageFull`. None
    /// takes the limit away.
    pub fn set_space_bytes_max(&self, bytes: Option<u64>) {
        self.switches.space_bytes_max.store(bytes.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }

    /// Bytes that files take in all.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.switches.used_bytes.load(Ordering::Relaxed)
    }

    /// Syncs of files and directories so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.switches.syncs.load(Ordering::Relaxed)
    }

    /// Every file with its bytes as a process would read them, by path.
    #[must_use]
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        self.tree().files().map(|(path, inode)| (path, inode.bytes())).collect()
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().expect("no holder of the tree panics")
    }

    fn recount(&self, tree: &Tree) {
        let used = tree.files().map(|(_, inode)| inode.length()).sum();
        self.switches.used_bytes.store(used, Ordering::Relaxed);
    }
}

impl Switches {
    /// True where the sync is to make something durable.
    fn begin_sync(&self) -> io::Result<bool> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let good = self.good_syncs.load(Ordering::Relaxed);
        if good == 0 {
            return Err(io::Error::other("this disk was told to fail syncs"));
        }
        if good != UNLIMITED {
            self.good_syncs.store(good - 1, Ordering::Relaxed);
        }
        Ok(!self.skip_fsync.load(Ordering::Relaxed))
    }

    /// Takes the space by which a file grows, or gives back what it shrinks.
    fn begin_write(&self, length: u64, grown: u64) -> io::Result<()> {
        if self.fail_writes.load(Ordering::Relaxed) {
            return Err(io::Error::other("this disk was told to fail writes"));
        }
        let used = self.used_bytes.load(Ordering::Relaxed).saturating_sub(length) + grown;
        if grown > length && used > self.space_bytes_max.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.used_bytes.store(used, Ordering::Relaxed);
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn free_bytes(&self) -> io::Result<u64> {
        let most = self.switches.space_bytes_max.load(Ordering::Relaxed);
        Ok(most.saturating_sub(self.used_bytes()))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.tree().list(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.tree().create_dir(directory)
    }

    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let inode = self.tree().open(path, how)?;
        Ok(Arc::new(MemoryFile { inode, switches: Arc::clone(&self.switches) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut tree = self.tree();
        tree.rename(from, to)?;
        self.recount(&tree);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut tree = self.tree();
        tree.remove(path)?;
        self.recount(&tree);
        Ok(())
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let durable = self.switches.begin_sync()?;
        self.tree().sync(directory, durable)
    }
}

struct MemoryFile {
    inode: Arc<Inode>,
    switches: Arc<Switches>,
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.inode.read_at(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let length = self.inode.length();
        self.switches.begin_write(length, length.max(offset + bytes.len() as u64))?;
        self.inode.write_at(offset, bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match self.switches.begin_sync() {
            Ok(true) => self.inode.sync(),
            Ok(false) => {}
            Err(error) => {
                self.inode.forget_pending();
                return Err(error);
            }
        }
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = self.inode.length();
        if bytes > length { self.set_len(bytes) } else { Ok(()) }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.switches.begin_write(self.inode.length(), bytes)?;
        self.inode.set_len(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.length())
    }
}

#[cfg(test)]
mod tests;

//! A disk in memory that knows what is durable. For tests and the simulation.
//!
//! A file's bytes are durable once the file was synced, a directory's entries once the directory
//! was. [`MemoryDisk::power_cut`] keeps those and, of everything later, what chance leaves: nothing,
//! a prefix that ends inside a write, or any subset of its sectors; likewise of directory changes.
//! A file may also be left with its new length and zeros where the data was not yet.
//! [`MemoryDisk::crash`] ends a process only: what was written stays. Both cut off every file that
//! is open, as the end of a process does. Nothing here is random but the numbers that
//! [`MemoryDisk::power_cut`] and [`MemoryDisk::damage`] are given.
//!
//! What it can be told to do wrong: fail or skip syncs, all or of a kind ([`SyncKind`]); fail
//! writes; run out of space and have some again; and damage what it keeps ([`DamageKind`]). It
//! neither hangs nor is slow: who has a clock puts that in front of it.

mod damage;
mod directory;
mod inode;
mod switches;

pub use damage::{Damage, DamageKind};
pub use switches::SyncKind;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, File, Open};
use directory::Tree;
use inode::Inode;
use switches::{Switches, UNLIMITED};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
    switches: Arc<Switches>,
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

    /// Plants a bug: all syncs succeed and make nothing durable.
    pub fn skip_fsync(&self, skip: bool) {
        self.skip_fsync_of(if skip { SyncKind::ALL } else { &[] });
    }

    /// Plants a bug: syncs of these kinds succeed and make nothing durable, all others work. A
    /// later sync of another kind makes durable what was skipped in the same file, as it would
    /// where a program forgot a call.
    pub fn skip_fsync_of(&self, kinds: &[SyncKind]) {
        self.switches.skip(kinds);
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

    /// Makes every rename fail with `StorageFull`: a directory has no space for the new name.
    pub fn fail_renames_for_space(&self, fail: bool) {
        self.switches.fail_renames.store(fail, Ordering::Relaxed);
    }

    /// Limits the space that files take in all: a write or an allocation that needs more does the
    /// part that fits and fails with `StorageFull`. None takes the limit away.
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
        let place = path.to_owned();
        Ok(Arc::new(MemoryFile { inode, place, switches: Arc::clone(&self.switches) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if self.switches.fail_renames.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
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
        let durable = self.switches.begin_sync(SyncKind::Directory)?;
        self.tree().sync(directory, durable)
    }
}

struct MemoryFile {
    inode: Arc<Inode>,
    /// The path it was opened at: its first part says what kind of file it is.
    place: String,
    switches: Arc<Switches>,
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.inode.read_at(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let length = self.inode.length();
        let end = self.switches.begin_write(length, offset + bytes.len() as u64)?;
        let fitting = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let written = &bytes[..bytes.len().min(fitting)];
        if !written.is_empty() {
            self.inode.write_at(offset, written);
        }
        if written.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let kind = SyncKind::of_file(&self.place, || self.inode.pending_writes());
        match self.switches.begin_sync(kind) {
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
        let length = self.inode.length();
        let end = self.switches.begin_write(length, bytes)?;
        self.switches.give_back(length.saturating_sub(end));
        self.inode.set_len(end);
        if end < bytes { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.length())
    }
}

#[cfg(test)]
mod tests;

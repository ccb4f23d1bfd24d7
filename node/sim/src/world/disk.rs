//! A disk as one process sees it: what a dying process would still do to it is not done.

use std::io;
use std::sync::Arc;

use conclave_store::disk::{Disk, File, MemoryDisk, Open};

use crate::world::life::Life;

/// Works as long as its process lives. Files that are open when it ends are cut off by the disk.
pub(crate) struct LivingDisk {
    life: Life,
    disk: MemoryDisk,
}

impl LivingDisk {
    pub(crate) fn new(life: Life, disk: MemoryDisk) -> Self {
        Self { life, disk }
    }

    fn alive(&self) -> io::Result<&MemoryDisk> {
        if self.life.has_ended() {
            return Err(io::Error::other("the process has ended"));
        }
        Ok(&self.disk)
    }
}

impl Disk for LivingDisk {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.alive()?.list(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.alive()?.create_dir(directory)
    }

    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        self.alive()?.open(path, how)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.alive()?.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.alive()?.remove(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.alive()?.free_bytes()
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.alive()?.sync_dir(directory)
    }
}

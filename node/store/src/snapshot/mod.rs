//! Snapshot files.
//!
//! A snapshot is written to a temporary name, synced, read back and verified whole; then it is
//! renamed and the directory synced. So a file with a snapshot's name was once complete and right,
//! and the log may be purged behind it. [`frame`] draws the bytes. The newest
//! [`SNAPSHOTS_KEPT`] stay. A file that is found damaged is set aside (`….damaged`), reported, and
//! the older one takes its place; whether the log still reaches back that far is the caller's to
//! see. Nothing here holds more than one chunk in memory.

mod chain;
mod draft;
mod frame;
mod reader;

pub use draft::SnapshotReceiver;
pub use frame::FRAME_BYTES_MAX;
pub use reader::SnapshotReader;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::disk::{Disk, Open};
use crate::state::{Export, StateError};
use crate::v1::SnapshotHeader;
use draft::Draft;

const DIRECTORY: &str = "snapshots";
const SUFFIX: &str = ".snapshot";
const SET_ASIDE: &str = ".damaged";
/// Snapshots that are kept, the newest ones.
pub const SNAPSHOTS_KEPT: usize = 2;

/// Snapshot files: written to a temporary name, synced, read back, then renamed and the directory
/// synced. Clones are the same store.
#[derive(Clone)]
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    catalogue: Arc<Mutex<Catalogue>>,
}

/// Why a snapshot cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The export failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file, or what a peer sent for it, is not a whole and right snapshot.
    #[error("{file} is damaged: {what}: fetch a snapshot from a peer")]
    Damaged {
        /// The path in the data directory.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// It is whole, but of a format that came later.
    #[error(
        "{file} has format {format}, which this program does not know: start the newer program"
    )]
    Newer {
        /// The path in the data directory.
        file: String,
        /// The format's number.
        format: u32,
    },
}

/// What [`SnapshotStore::newest`] found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub enum Newest {
    /// No snapshot was ever stored.
    None,
    /// The newest one, verified whole.
    Snapshot(SnapshotReader),
    /// Every one was damaged: the paths they were set aside to. A peer's takes their place.
    Damaged(Vec<String>),
}

/// What the directory holds.
#[derive(Default)]
struct Catalogue {
    names: BTreeSet<Name>,
    /// Those that this process wrote or read whole.
    verified: BTreeSet<Name>,
    /// Paths set aside.
    damaged: Vec<String>,
    next_sequence: u64,
}

/// The newest snapshot is the one with the highest index, not the one stored last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    index: u64,
    sequence: u64,
}

impl SnapshotStore {
    /// Opens the store of a data directory and removes what a crash left unfinished.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, SnapshotError> {
        disk.create_dir(DIRECTORY)?;
        disk.sync_dir("")?;
        let mut catalogue = Catalogue::default();
        for file in disk.list(DIRECTORY)? {
            let path = format!("{DIRECTORY}/{file}");
            if let Some(name) = Name::parse(&file) {
                catalogue.names.insert(name);
                catalogue.next_sequence = catalogue.next_sequence.max(name.sequence + 1);
            } else if file.ends_with(SET_ASIDE) {
                catalogue.damaged.push(path);
            } else if file.ends_with(draft::SUFFIX) {
                disk.remove(&path)?;
            }
        }
        disk.sync_dir(DIRECTORY)?;
        Ok(Self { disk, catalogue: Arc::new(Mutex::new(catalogue)) })
    }

    /// Writes an export as the newest snapshot; returns its header as stored (read back and
    /// verified).
    ///
    /// # Errors
    /// The operating system's, the state's, or [`SnapshotError::Damaged`] where it does not read
    /// back as it was; nothing is replaced then.
    pub fn save(
        &self,
        mut export: Export,
        cluster_id: &[u8],
    ) -> Result<SnapshotReader, SnapshotError> {
        let sequence = self.take_sequence();
        let id = export.header().last_log_id.unwrap_or_default();
        let header = SnapshotHeader {
            cluster_id: Bytes::copy_from_slice(cluster_id),
            snapshot_id: format!("{}-{}-{}-{sequence}", id.term, id.leader_id, id.index),
            ..export.header().clone()
        };
        let mut draft = Draft::begin(self, header, sequence)?;
        while let Some(chunk) = export.next_chunk()? {
            draft.push(&chunk)?;
        }
        draft.finish()
    }

    /// Starts to store a snapshot that a peer sends.
    ///
    /// # Errors
    /// The operating system's.
    pub fn receive(&self, header: SnapshotHeader) -> Result<SnapshotReceiver, SnapshotError> {
        let sequence = self.take_sequence();
        Ok(SnapshotReceiver::new(Draft::begin(self, header, sequence)?))
    }

    /// The newest stored snapshot, verified whole once in the life of the process. One that is
    /// damaged is set aside, and the next older one is the newest.
    ///
    /// # Errors
    /// The operating system's; [`SnapshotError::Damaged`] where damaged ones are all there is.
    pub fn latest(&self) -> Result<Option<SnapshotReader>, SnapshotError> {
        let mut damage = None;
        loop {
            let newest = self.catalogue().names.last().copied();
            let Some(name) = newest else { break };
            match self.open_verified(name) {
                Ok(reader) => return Ok(Some(reader)),
                Err(error @ SnapshotError::Damaged { .. }) => {
                    tracing::error!(%error, "set a damaged snapshot aside");
                    self.set_aside(name)?;
                    damage = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let known = self.catalogue().damaged.first().cloned();
        let again =
            known.map(|file| SnapshotError::Damaged { file, what: "it was set aside".to_owned() });
        damage.or(again).map_or(Ok(None), Err)
    }

    /// As [`SnapshotStore::latest`], where it matters that there was one.
    ///
    /// # Errors
    /// The operating system's; [`SnapshotError::Newer`].
    pub fn newest(&self) -> Result<Newest, SnapshotError> {
        match self.latest() {
            Ok(None) => Ok(Newest::None),
            Ok(Some(reader)) => Ok(Newest::Snapshot(reader)),
            Err(SnapshotError::Damaged { .. }) => Ok(Newest::Damaged(self.damaged())),
            Err(error) => Err(error),
        }
    }

    /// The headers of damaged snapshots, where those can still be read: a hint at who the members
    /// are, and no more.
    #[must_use]
    pub fn damaged_headers(&self) -> Vec<SnapshotHeader> {
        let header = |path: &String| {
            let file = self.disk.open(path, Open::Existing).ok()?;
            Some(SnapshotReader::open(file, path).ok()?.header().clone())
        };
        self.damaged().iter().filter_map(header).collect()
    }

    /// Makes [`SnapshotStore::latest`] verify the files again: for a caller whose reader met
    /// damage.
    pub fn distrust(&self) {
        self.catalogue().verified.clear();
    }

    /// Paths of damaged snapshots that were set aside, until a new one is stored.
    #[must_use]
    pub fn damaged(&self) -> Vec<String> {
        self.catalogue().damaged.clone()
    }

    fn open_verified(&self, name: Name) -> Result<SnapshotReader, SnapshotError> {
        let path = name.path();
        self.read_verified(name, &path).map_err(|error| match error {
            SnapshotError::Io(error) if is_damage(&error) => damaged(&path, error.to_string()),
            error => error,
        })
    }

    fn read_verified(&self, name: Name, path: &str) -> Result<SnapshotReader, SnapshotError> {
        let file = self.disk.open(path, Open::Existing)?;
        let mut reader = SnapshotReader::open(file, path)?;
        let index = reader.header().last_log_id.map_or(0, |id| id.index);
        if index != name.index {
            return Err(damaged(path, format!("it is the snapshot at {index} under another name")));
        }
        if !self.catalogue().verified.contains(&name) {
            reader.verify()?;
            let mut catalogue = self.catalogue();
            catalogue.verified.insert(name);
            self.prune(&mut catalogue);
        }
        Ok(reader)
    }

    /// Gives a complete, verified file its name.
    fn adopt(&self, from: &str, name: Name) -> io::Result<()> {
        let mut catalogue = self.catalogue();
        self.disk.rename(from, &name.path())?;
        self.disk.sync_dir(DIRECTORY)?;
        catalogue.names.insert(name);
        catalogue.verified.insert(name);
        for path in std::mem::take(&mut catalogue.damaged) {
            self.remove(&path);
        }
        self.prune(&mut catalogue);
        Ok(())
    }

    fn set_aside(&self, name: Name) -> io::Result<()> {
        let mut catalogue = self.catalogue();
        if catalogue.names.remove(&name) {
            catalogue.verified.remove(&name);
            let path = format!("{}{SET_ASIDE}", name.path());
            match self.disk.rename(&name.path(), &path) {
                // Someone removed it: nothing is left to be set aside.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                renamed => renamed?,
            }
            self.disk.sync_dir(DIRECTORY)?;
            catalogue.damaged.push(path);
        }
        Ok(())
    }

    /// Removes all but the newest snapshots, and never the newest that is known to be good: what
    /// stands above it may be damaged. A reader keeps its file open, so it reads on.
    fn prune(&self, catalogue: &mut Catalogue) {
        while catalogue.names.len() > SNAPSHOTS_KEPT {
            let Some(good) = catalogue.verified.last().copied() else { return };
            let Some(oldest) = catalogue.names.iter().find(|name| **name != good).copied() else {
                return;
            };
            catalogue.names.remove(&oldest);
            catalogue.verified.remove(&oldest);
            self.remove(&oldest.path());
        }
    }

    fn remove(&self, path: &str) {
        if let Err(error) = self.disk.remove(path) {
            tracing::warn!(%path, %error, "an old snapshot stays on disk until the next start");
        }
    }

    fn take_sequence(&self) -> u64 {
        let mut catalogue = self.catalogue();
        let sequence = catalogue.next_sequence;
        catalogue.next_sequence += 1;
        sequence
    }

    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue.lock().expect("no holder of the catalogue panics")
    }
}

impl Name {
    fn path(self) -> String {
        format!("{DIRECTORY}/{:020}-{:020}{SUFFIX}", self.index, self.sequence)
    }

    fn parse(file: &str) -> Option<Self> {
        let (index, sequence) = file.strip_suffix(SUFFIX)?.split_once('-')?;
        let name = Self { index: index.parse().ok()?, sequence: sequence.parse().ok()? };
        (name.sequence < u64::MAX
            && name.path().strip_prefix(DIRECTORY)?.strip_prefix('/')? == file)
            .then_some(name)
    }
}

/// Whether the disk cannot give back what was stored, or something else stands there.
fn is_damage(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::IO, rustix::io::Errno::ISDIR].map(|code| code.raw_os_error());
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn damaged(file: &str, what: impl Into<String>) -> SnapshotError {
    SnapshotError::Damaged { file: file.to_owned(), what: what.into() }
}

#[cfg(test)]
mod tests;

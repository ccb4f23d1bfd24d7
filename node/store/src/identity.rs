//! The small durable files that say who this node is.
//!
//! ```text
//! node/identity            frame "CONCIDT1": Identity
//! node/boot                frame "CONCBOT1": the boot counter
//! node/sealed-on-purpose   present: sealed by an operator, and to stay so
//! frame                    magic | checksum u32 | body, to the end of the file
//! ```
//!
//! The checksum is CRC-32 over magic and body, little-endian; bodies are protobuf. Files are
//! replaced whole ([`write_atomically`]). The boot counter has a file of its own, because it counts
//! from the first start, when the node has no identity yet, and so that saving an identity cannot
//! set it back.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use prost::Message;

use crate::disk::{Disk, read_all, write_atomically};

const DIRECTORY: &str = "node";
const IDENTITY: Place = Place { path: "node/identity", magic: *b"CONCIDT1" };
const BOOT: Place = Place { path: "node/boot", magic: *b"CONCBOT1" };
const SEALED_PATH: &str = "node/sealed-on-purpose";
const BODY_AT: usize = 12;
/// The format of a data directory that this program writes and knows.
pub const FORMAT_VERSION: u32 = 1;

/// Who a node is in which cluster. Never changed once it is set, but for the name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Identity {
    /// The cluster it belongs to.
    #[prost(bytes = "bytes", tag = "1")]
    pub cluster_id: bytes::Bytes,
    /// Its Raft id, allocated through the log and never given to another node.
    #[prost(uint64, tag = "2")]
    pub node_id: u64,
    /// What people call it.
    #[prost(string, tag = "3")]
    pub node_name: String,
    /// The format of the data directory; [`IdentityStore::save`] fills it in.
    #[prost(uint32, tag = "4")]
    pub format_version: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Boot {
    #[prost(uint64, tag = "1")]
    counter: u64,
}

/// Why a node takes no part in its cluster any more. Only a wiped node, under a new id, comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    /// Its state differed from that of a majority.
    Quarantined,
    /// Its peers saw more of it than it has: its disk went back in time.
    RolledBack,
    /// The cluster was recovered, restored or changed without it.
    Fenced,
}

/// Why the identity files cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The operating system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file is not what was written.
    #[error(
        "{file} is damaged: {what}: remove the node from the cluster, empty its data directory and join it again"
    )]
    Damaged {
        /// The path in the data directory.
        file: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A newer program wrote the directory.
    #[error(
        "the data directory has format {found} and this program knows {FORMAT_VERSION}: start the newer program"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
}

/// The identity files of a data directory. Clones are the same store.
#[derive(Clone)]
pub struct IdentityStore {
    disk: Arc<dyn Disk>,
    known: Arc<Mutex<Known>>,
}

/// What the files say.
struct Known {
    identity: Option<Identity>,
    boot_counter: u64,
    sealed_on_purpose: bool,
    out: Option<(Out, String)>,
}

struct Place {
    path: &'static str,
    magic: [u8; 8],
}

impl IdentityStore {
    /// Reads the files of a data directory.
    ///
    /// # Errors
    /// [`IdentityError::Damaged`], [`IdentityError::Newer`], the operating system's.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, IdentityError> {
        disk.create_dir(DIRECTORY)?;
        disk.sync_dir("")?;
        let identity: Option<Identity> = IDENTITY.read(disk.as_ref())?;
        if let Some(found) = identity.as_ref().map(|identity| identity.format_version)
            && found > FORMAT_VERSION
        {
            return Err(IdentityError::Newer { found });
        }
        let boot: Option<Boot> = BOOT.read(disk.as_ref())?;
        let known = Known {
            identity,
            boot_counter: boot.map_or(0, |boot| boot.counter),
            // Any file there counts, whatever is in it: staying sealed is the safe side.
            sealed_on_purpose: read_all(disk.as_ref(), SEALED_PATH)?.is_some(),
            out: None,
        };
        Ok(Self { disk, known: Arc::new(Mutex::new(known)) })
    }

    /// The node's identity, None before it has one.
    #[must_use]
    pub fn load(&self) -> Option<Identity> {
        self.known().identity.clone()
    }

    /// Stores the node's identity durably.
    ///
    /// # Errors
    /// The operating system's; the old identity stands then.
    pub fn save(&self, identity: &Identity) -> Result<(), IdentityError> {
        let identity = Identity { format_version: FORMAT_VERSION, ..identity.clone() };
        let mut known = self.known();
        IDENTITY.write(self.disk.as_ref(), &identity)?;
        known.identity = Some(identity);
        Ok(())
    }

    /// Counts a start of this node and returns its number, from 1; durable on return.
    ///
    /// # Errors
    /// The operating system's; `Damaged` where the counter is at its end.
    pub fn begin_boot(&self) -> Result<u64, IdentityError> {
        let mut known = self.known();
        let counter = known.boot_counter.checked_add(1).ok_or(IdentityError::Damaged {
            file: BOOT.path,
            what: "no node was started that often",
        })?;
        BOOT.write(self.disk.as_ref(), &Boot { counter })?;
        known.boot_counter = counter;
        Ok(counter)
    }

    /// How often this node was started.
    #[must_use]
    pub fn boot_counter(&self) -> u64 {
        self.known().boot_counter
    }

    /// Whether an operator sealed this node and it is to stay sealed.
    #[must_use]
    pub fn sealed_on_purpose(&self) -> bool {
        self.known().sealed_on_purpose
    }

    /// Why this node stays out of its cluster, and a sentence about it; for ever once set.
    #[must_use]
    pub fn out(&self) -> Option<(Out, String)> {
        self.known().out.clone()
    }

    /// Marks the node as staying out; durable on return. The first reason stands.
    ///
    /// # Errors
    /// The operating system's; the node stays out until it ends even so.
    pub fn set_out(&self, why: Out, text: &str) -> Result<(), IdentityError> {
        let mut known = self.known();
        known.out.get_or_insert_with(|| (why, text.to_owned()));
        Ok(())
    }

    /// Sets or takes away the mark of [`Self::sealed_on_purpose`]; durable on return.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_sealed_on_purpose(&self, sealed: bool) -> Result<(), IdentityError> {
        let mut known = self.known();
        if sealed {
            write_atomically(self.disk.as_ref(), SEALED_PATH, b"sealed\n")?;
        } else if known.sealed_on_purpose {
            match self.disk.remove(SEALED_PATH) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => self.disk.sync_dir(DIRECTORY)?,
            }
        }
        known.sealed_on_purpose = sealed;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of what is known panics")
    }
}

impl Place {
    fn write(&self, disk: &dyn Disk, message: &impl Message) -> io::Result<()> {
        let body = message.encode_to_vec();
        let mut bytes = self.magic.to_vec();
        bytes.extend_from_slice(&self.checksum(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        write_atomically(disk, self.path, &bytes)
    }

    fn read<M: Message + Default>(&self, disk: &dyn Disk) -> Result<Option<M>, IdentityError> {
        let damaged = |what| IdentityError::Damaged { file: self.path, what };
        let Some(bytes) = read_all(disk, self.path)? else { return Ok(None) };
        let body = bytes.get(BODY_AT..).ok_or_else(|| damaged("it is too short"))?;
        if bytes[..8] != self.magic || bytes[8..BODY_AT] != self.checksum(body).to_le_bytes() {
            return Err(damaged("it does not match its checksum"));
        }
        M::decode(body).map(Some).map_err(|_| damaged("it does not decode"))
    }

    fn checksum(&self, body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.magic);
        hasher.update(body);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemoryDisk, Open};

    fn identity() -> Identity {
        Identity {
            cluster_id: bytes::Bytes::from_static(b"cluster"),
            node_id: 7,
            node_name: "alpha".to_owned(),
            format_version: FORMAT_VERSION,
        }
    }

    fn open(disk: &MemoryDisk) -> IdentityStore {
        IdentityStore::open(Arc::new(disk.clone())).unwrap()
    }

    #[test]
    fn everything_outlives_a_power_cut() {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        assert_eq!(
            (store.load(), store.sealed_on_purpose(), store.boot_counter()),
            (None, false, 0)
        );
        assert_eq!(store.begin_boot().unwrap(), 1);
        store.save(&identity()).unwrap();
        store.set_sealed_on_purpose(true).unwrap();
        disk.power_cut(|| 0);
        let store = open(&disk);
        assert_eq!((store.load(), store.sealed_on_purpose()), (Some(identity()), true));
        assert_eq!(store.begin_boot().unwrap(), 2);
        store.set_sealed_on_purpose(false).unwrap();
        store.set_sealed_on_purpose(false).unwrap();
        disk.power_cut(|| 0);
        assert!(!open(&disk).sealed_on_purpose());
        assert_eq!(open(&disk).boot_counter(), 2);
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        disk.fail_syncs(true);
        assert!(store.save(&identity()).is_err());
        assert!(store.begin_boot().is_err());
        assert!(store.set_sealed_on_purpose(true).is_err());
        assert_eq!(
            (store.load(), store.sealed_on_purpose(), store.boot_counter()),
            (None, false, 0)
        );
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let disk = MemoryDisk::new();
        open(&disk).save(&identity()).unwrap();
        let file = disk.open(IDENTITY.path, Open::Existing).unwrap();
        for offset in 0..file.len().unwrap() {
            let mut byte = [0];
            file.read_at(offset, &mut byte).unwrap();
            file.write_at(offset, &[byte[0] ^ 0x10]).unwrap();
            let error = IdentityStore::open(Arc::new(disk.clone())).err().unwrap();
            assert!(error.to_string().contains("node/identity is damaged"), "{error}");
            file.write_at(offset, &byte).unwrap();
        }
    }

    #[test]
    fn a_newer_format_is_refused_with_the_way_out() {
        let disk = MemoryDisk::new();
        drop(open(&disk));
        let newer = Identity { format_version: FORMAT_VERSION + 1, ..identity() };
        IDENTITY.write(&disk, &newer).unwrap();
        let error = IdentityStore::open(Arc::new(disk)).err().unwrap();
        assert!(error.to_string().ends_with("start the newer program"), "{error}");
    }

    #[test]
    fn the_bytes_are_these() {
        let disk = MemoryDisk::new();
        open(&disk).save(&identity()).unwrap();
        let bytes = read_all(&disk, IDENTITY.path).unwrap().unwrap();
        let body = b"\x0a\x07cluster\x10\x07\x1a\x05alpha\x20\x01";
        assert_eq!((&bytes[..8], &bytes[BODY_AT..]), (&b"CONCIDT1"[..], &body[..]));
    }
}

//! The small durable files that say who this node is.
//!
//! ```text
//! node/identity            frame "CONCIDT1": Identity
//! node/boot                frame "CONCBOT1": the boot counter
//! node/out                 frame "CONCOUT1": why the node stays out of its cluster
//! node/sealed-on-purpose   present: sealed by an operator, and to stay so
//! ```
//!
//! [`frame`] draws the frame; bodies are protobuf. Files are replaced whole ([`write_atomically`]).
//! The boot counter has a file of its own, because it counts from the first start, when the node
//! has no identity yet, and so that saving an identity cannot set it back. Who cannot tell what a
//! mark says takes the safe side: a file that is there seals, and one that is there keeps out.

pub(crate) mod frame;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use prost::Message;

use crate::disk::{Disk, read_all, write_atomically};
use frame::Place;

/// Where the small files are.
pub(crate) const DIRECTORY: &str = "node";
const IDENTITY: Place = Place { path: "node/identity", name: *b"CONCIDT" };
const BOOT: Place = Place { path: "node/boot", name: *b"CONCBOT" };
const OUT: Place = Place { path: "node/out", name: *b"CONCOUT" };
const SEALED_PATH: &str = "node/sealed-on-purpose";
/// A text about why a node is out is cut at this length.
const OUT_TEXT_BYTES_MAX: usize = 4 << 10;
/// The format of a data directory that this program writes and knows.
pub const FORMAT_VERSION: u32 = 1;

/// Who a node is in which cluster. Never changed once it is set, but for the name.
#[derive(Clone, PartialEq, Message)]
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
    /// The members that let it in: whom to greet, should the rest of its disk be gone.
    #[prost(message, optional, tag = "5")]
    pub joined: Option<crate::v1::Membership>,
}

#[derive(Clone, PartialEq, Message)]
struct Boot {
    #[prost(uint64, tag = "1")]
    counter: u64,
}

#[derive(Clone, PartialEq, Message)]
struct OutRecord {
    /// See [`Out::number`].
    #[prost(uint32, tag = "1")]
    reason: u32,
    #[prost(string, tag = "2")]
    text: String,
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
        "{file} is damaged: {what}: set the node's data aside and join it again with `conclaved rejoin`, or, where most nodes are lost, see `conclaved recover`"
    )]
    Damaged {
        /// The path in the data directory.
        file: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A newer program wrote a file.
    #[error(
        "{file} has format {found:?}, which this program does not know: start the newer program"
    )]
    NewerFile {
        /// The path in the data directory.
        file: &'static str,
        /// Its format.
        found: char,
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
    /// Whether a file says so.
    out_saved: bool,
}

impl IdentityStore {
    /// Reads the files of a data directory.
    ///
    /// # Errors
    /// [`IdentityError::Damaged`], [`IdentityError::Newer`], [`IdentityError::NewerFile`], the
    /// operating system's.
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
        let out = read_out(disk.as_ref())?;
        let known = Known {
            identity,
            boot_counter: boot.map_or(0, |boot| boot.counter),
            // Any file there counts, whatever is in it: staying sealed is the safe side.
            sealed_on_purpose: read_all(disk.as_ref(), SEALED_PATH)?.is_some(),
            out_saved: out.is_some(),
            out,
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
    /// The operating system's; the node stays out until it ends even so, and another call tries
    /// again to write the first reason.
    pub fn set_out(&self, why: Out, text: &str) -> Result<(), IdentityError> {
        let mut known = self.known();
        let text = &text[..text.floor_char_boundary(OUT_TEXT_BYTES_MAX)];
        let (why, text) = known.out.get_or_insert_with(|| (why, text.to_owned())).clone();
        if !known.out_saved {
            OUT.write(self.disk.as_ref(), &OutRecord { reason: why.number(), text })?;
            known.out_saved = true;
        }
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

impl Out {
    const ALL: [Self; 3] = [Self::Quarantined, Self::RolledBack, Self::Fenced];

    /// What stands for it on disk, for ever.
    fn number(self) -> u32 {
        match self {
            Self::Quarantined => 1,
            Self::RolledBack => 2,
            Self::Fenced => 3,
        }
    }
}

/// A mark that cannot be read keeps the node out as well: whatever it said, it was that.
fn read_out(disk: &dyn Disk) -> io::Result<Option<(Out, String)>> {
    let unreadable = |what: &str| {
        let text = format!(
            "{} is there and cannot be read ({what}), so this node was put out for a reason that is lost",
            OUT.path
        );
        Some((Out::Quarantined, text))
    };
    let record: OutRecord = match OUT.read(disk) {
        Ok(None) => return Ok(None),
        Ok(Some(record)) => record,
        Err(IdentityError::Io(error)) => return Err(error),
        Err(IdentityError::Damaged { what, .. }) => return Ok(unreadable(what)),
        Err(_) => return Ok(unreadable("a newer program wrote it")),
    };
    let why = Out::ALL.into_iter().find(|why| why.number() == record.reason);
    Ok(match why {
        Some(why) => Some((why, record.text)),
        None => unreadable("a newer program wrote it"),
    })
}

#[cfg(test)]
mod tests;

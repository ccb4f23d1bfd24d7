//! The state machine: rows, directories, sessions and remembered requests over an ordered map.
//!
//! It owns what applied entries add up to, and hands out views of it at one revision. Its state is
//! derived: whatever the engine loses is rebuilt from a snapshot and the log, so nothing here
//! waits for a disk. The invariant: after the same entries every replica has the same set hash,
//! and a view shows exactly the entries up to its revision, whatever is applied, flushed or
//! exported meanwhile. It never knows a key or a plaintext, a clock or a random source, nor what
//! the consensus library is.
//!
//! From an entry to the disk: [`State::apply`] works out an entry's changes (`apply`, `tree`,
//! `session`, `changes`), installs them at once in the overlay, and leaves before-images in the
//! undo while views are open; [`State::flush`] moves the overlay to the engine. A reader looks in
//! the undo, the overlay and the engine, in this order (`shared`).

mod apply;
mod changes;
mod cluster;
mod directory;
mod engine;
mod epoch;
mod export;
mod flush;
pub mod hash;
mod import;
mod key;
mod limits;
mod open;
mod overlay;
mod record;
mod restore;
mod scrub;
mod session;
mod shared;
mod tree;
mod types;
mod undo;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use directory::{Rebuilt, open_directory};
pub use engine::memory::{Loss, MemoryEngine};
pub use engine::sled::SledEngine;
pub use engine::{EngineError, StateEngine, Verified, Writes};
pub use epoch::EPOCH_CHANGES_MAX;
pub use export::{CHUNK_DIGEST_FIRST, ChunkDigest, Export, derive_chunk_digest};
pub use hash::{SetHash, StateHash};
pub use import::Import;
pub use limits::{
    COMMAND_BYTES_MAX, FINGERPRINT_BYTES_MAX, InvalidCommand, OWNER_BYTES_MAX, REPLY_BYTES_MAX,
    REQUESTS_PER_SESSION_MAX, RESTORE_CHUNK_BYTES_MAX, RESTORE_HEADER_BYTES_MAX, RESTORE_ID_BYTES,
    SEGMENT_BYTES_MAX, SEGMENTS_MAX, SESSION_TTL_MS_MAX, SESSIONS_PER_OWNER_MAX, VALUE_BYTES_MAX,
    WRITES_MAX, validate,
};
pub use record::FORMAT as SNAPSHOT_FORMAT;
pub use restore::RESTORE_IDLE_MS_MAX;
pub use scrub::Scrub;
pub use shared::CHECKPOINT_ENTRIES;
pub use types::{Applied, Child, Outcome, Row, StateConfig, StateError};
pub use view::View;

use crate::v1::{Entry, LogId, SnapshotHeader};
use shared::Shared;

/// The state machine of a node. Clones are handles to the same one.
#[derive(Clone)]
pub struct State {
    shared: Arc<Shared>,
}

impl State {
    /// Opens what the engine holds. As [`State::open_in_boot`] where boots are not told apart.
    ///
    /// # Errors
    /// As [`State::open_in_boot`].
    pub fn open(engine: Arc<dyn StateEngine>, config: StateConfig) -> Result<Self, StateError> {
        Self::open_in_boot(engine, config, [0; 16])
    }

    /// Opens what the engine holds, checking all of it unless it was closed in good order in this
    /// boot of the machine. [`State::applied`] then says after which entry to go on.
    ///
    /// # Errors
    /// [`StateError::Damaged`] where it is not what was written: clear the engine, open again and
    /// rebuild.
    pub fn open_in_boot(
        engine: Arc<dyn StateEngine>,
        config: StateConfig,
        boot_id: [u8; 16],
    ) -> Result<Self, StateError> {
        Ok(Self { shared: Arc::new(open::open(engine, config, boot_id)?) })
    }

    /// Flushes everything and marks the state as closed in good order. **Nothing is applied
    /// afterwards.**
    ///
    /// # Errors
    /// [`StateError::Damaged`] where the engine met corruption since it was opened: nothing is
    /// marked then, and the owner sets the state aside. Else where the engine cannot write.
    pub fn close(&self) -> Result<(), StateError> {
        self.shared.close()
    }

    /// Where the state stands.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.shared.read().position.applied()
    }

    /// The newest applied entry: [`State::applied`] without its clone of the membership.
    #[must_use]
    pub fn applied_id(&self) -> Option<LogId> {
        self.shared.read().position.log_id
    }

    /// Applies the entry after the last applied one.
    ///
    /// # Errors
    /// Every error ends the node: [`StateError::Unknown`] for an entry this version does not
    /// understand or that does not follow, otherwise what the engine met. Nothing was applied.
    pub fn apply(&self, entry: &Entry) -> Result<Outcome, StateError> {
        self.shared.apply(entry)
    }

    /// Everything at the newest applied revision.
    #[must_use]
    pub fn view(&self) -> View {
        View::open(&self.shared)
    }

    /// Moves one batch from the overlay to the engine; true where more waits. Meant to be called
    /// every 10 to 20 ms; now and then it waits for the engine's own flush.
    ///
    /// # Errors
    /// Where the engine cannot write; what waits is kept for another try.
    pub fn flush(&self) -> Result<bool, StateError> {
        self.shared.flush()
    }

    /// The state hash at a checkpoint index (every 1,024 entries), where still known.
    #[must_use]
    pub fn hash_at(&self, index: u64) -> Option<StateHash> {
        let memory = self.shared.read();
        let mut checkpoints = memory.checkpoints.iter();
        checkpoints.find(|(at, _)| *at == index).map(|(_, hash)| *hash)
    }

    /// The cluster's epochs after the first, oldest first; the newest 64 of them.
    ///
    /// # Errors
    /// Where the engine cannot read.
    pub fn epochs(&self) -> Result<Vec<crate::v1::EpochChange>, StateError> {
        let record = self.view().record(&key::epoch())?;
        Ok(epoch::decode(record.as_ref())?.changes)
    }

    /// Whether a restore is staged: no snapshot is built meanwhile.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.shared.read().position.restore.is_some()
    }

    /// Checks the next records that the engine holds, `records_max` at most, against their
    /// checksums and, once around, the set hash; then what of its files lies on the disk, half a
    /// megabyte at most. True where the round ended. Applies wait for one such step.
    ///
    /// # Errors
    /// [`StateError::Damaged`] where the engine or its files no longer hold what was written;
    /// otherwise where the engine cannot read.
    pub fn scrub(&self, scrub: &mut Scrub, records_max: usize) -> Result<bool, StateError> {
        self.shared.scrub(scrub, records_max)
    }

    /// The newest checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<(u64, StateHash)> {
        self.shared.read().checkpoints.back().copied()
    }

    /// A consistent copy at the newest applied revision, to be read chunk by chunk while applies
    /// go on.
    ///
    /// # Errors
    /// [`StateError::Restoring`] while a restore is staged.
    pub fn export(&self) -> Result<Export, StateError> {
        Export::begin(&self.shared)
    }

    /// Begins to replace everything; nothing changes before [`Import::finish`].
    ///
    /// # Errors
    /// [`StateError::Snapshot`] for a format that this version does not know.
    pub fn import(&self, header: SnapshotHeader) -> Result<Import, StateError> {
        Import::begin(&self.shared, header)
    }

    /// Memory held by what the engine does not hold yet.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.shared.read().overlay.bytes()
    }

    /// What the engine takes on disk.
    #[must_use]
    pub fn engine_bytes(&self) -> u64 {
        self.shared.engine.size_bytes()
    }
}

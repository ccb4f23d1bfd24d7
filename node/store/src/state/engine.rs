//! The port to an ordered map that keeps the state on disk.

pub(super) mod memory;
pub(super) mod sled;
mod sled_files;
mod sled_watch;

/// Pairs to write; a value of none deletes.
pub type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The port to an ordered map that may lose, tear or roll back what was not flushed.
///
/// Implementations: [`SledEngine`](sled::SledEngine), and
/// [`MemoryEngine`](memory::MemoryEngine) for simulation.
pub trait StateEngine: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// At most `limit` pairs with `from <= key < to`, ascending.
    ///
    /// # Errors
    /// Where the engine cannot read.
    #[expect(clippy::type_complexity, reason = "pairs of key and value")]
    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, EngineError>;

    /// Applies all of `writes` (None deletes) as one atomic batch.
    ///
    /// # Errors
    /// Where the engine cannot write; what it holds then is unknown.
    fn write(&self, writes: Writes) -> Result<(), EngineError>;

    /// As [`StateEngine::write`] for many pairs of which nothing counts before metadata names it:
    /// in several batches.
    ///
    /// # Errors
    /// As [`StateEngine::write`].
    fn write_in_parts(&self, writes: Writes) -> Result<(), EngineError> {
        let (mut part, mut bytes) = (Writes::new(), 0);
        for (key, value) in writes {
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            part.push((key, value));
            if bytes >= PART_BYTES || part.len() >= PART_PAIRS {
                self.write(std::mem::take(&mut part))?;
                bytes = 0;
            }
        }
        if part.is_empty() { Ok(()) } else { self.write(part) }
    }

    /// Asks for what was written to reach the disk.
    ///
    /// # Errors
    /// Where the engine cannot write.
    fn flush(&self) -> Result<(), EngineError>;

    /// Checks the next part of what lies on the disk, and not of what is cached of it: about
    /// `bytes_max`, going on where the last call ended. An engine without files has nothing to
    /// check.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn verify(&self, bytes_max: usize) -> Result<Verified, EngineError> {
        let _ = bytes_max;
        Ok(Verified::Whole)
    }

    /// Whether anything that was read since it was opened turned out not to be what was written, by
    /// the engine's own checks. Then nothing that it holds is to be trusted at the next start.
    fn is_corrupted(&self) -> bool {
        false
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// Where the engine cannot write.
    fn clear(&self) -> Result<(), EngineError>;

    /// What it takes on disk.
    fn size_bytes(&self) -> u64;
}

/// A part of many pairs, by bytes and by number.
const PART_BYTES: usize = 128 << 10;
const PART_PAIRS: usize = 256;

/// What [`StateEngine::verify`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// Nothing wrong yet; there is more.
    More,
    /// Everything was checked once.
    Whole,
    /// This is not what was written.
    Damaged(String),
}

/// An engine's failure, as text: no caller can tell engines apart.
#[derive(Debug, thiserror::Error)]
#[error("state engine: {0}; free disk space or rebuild the state")]
pub struct EngineError(pub String);

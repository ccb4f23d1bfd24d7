//! The engine of real nodes.
//!
//! sled holds derived state only: its `flush` is no fsync and a power cut can tear it, so whoever
//! opens it scans it against the set hash, and nothing is purged because sled flushed. Its mode
//! stays the default one, because the crash measurements this use rests on were made with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use super::{EngineError, StateEngine, Writes};

/// sled in a directory of its own.
pub struct SledEngine {
    db: sled::Db,
}

impl SledEngine {
    /// Opens or makes the database in `path`.
    ///
    /// # Errors
    /// Where sled refuses. Damaged files can make it panic, which is an error here where panics
    /// unwind, and can make it hang: the owner watches a deadline and a crash marker.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        let mut tries = 0;
        loop {
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(db)) => return Ok(Self { db }),
                // Whoever held the files a moment ago, or a child it is just starting, still has
                // sled's lock; that the directory is ours the data directory's own lock says.
                Ok(Err(error)) if is_locked(&error) && tries < LOCK_TRIES_MAX => {
                    tries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Ok(Err(error)) => return Err(failure(&error)),
                Err(_) => return Err(EngineError("sled panicked while opening its files".into())),
            }
        }
    }
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

impl StateEngine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let value = self.db.get(key).map_err(|error| failure(&error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, EngineError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let pair = |pair: sled::Result<(sled::IVec, sled::IVec)>| match pair {
            Ok((key, value)) => Ok((key.to_vec(), value.to_vec())),
            Err(error) => Err(failure(&error)),
        };
        self.db.range(from..to).take(limit).map(pair).collect()
    }

    fn write(&self, writes: Writes) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(|error| failure(&error))
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.db.flush().map(|_| ()).map_err(|error| failure(&error))
    }

    fn clear(&self) -> Result<(), EngineError> {
        self.db.clear().map_err(|error| failure(&error))
    }

    fn size_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

fn failure(error: &sled::Error) -> EngineError {
    EngineError(error.to_string())
}

/// Pages sled keeps in memory.
const CACHE_BYTES: u64 = 64 << 20;
const LOCK_TRIES_MAX: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

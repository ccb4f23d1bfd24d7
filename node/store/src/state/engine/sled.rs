//! The engine of real nodes.
//!
//! sled holds derived state only: its `flush` is no fsync and a power cut can tear it, so whoever
//! opens it scans it against the set hash, and nothing is purged because sled flushed. Its mode
//! stays the default one, because the crash measurements this use rests on were made with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::sled_files::SledFiles;
use super::sled_watch::{SledWatch, end_process};
use super::{EngineError, StateEngine, Verified, Writes};

/// sled in a directory of its own.
pub struct SledEngine {
    db: sled::Db,
    files: SledFiles,
    watch: SledWatch,
    /// One batch at a time, see [`SledWatch`].
    turn: Mutex<()>,
    /// Set by the first page that sled's own checksum refuses.
    corrupted: AtomicBool,
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
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        let mut tries = 0;
        loop {
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(db)) => {
                    let watch = SledWatch::start(PATIENCE, end_process)
                        .map_err(|error| EngineError(error.to_string()))?;
                    let (files, turn) = (SledFiles::new(path), Mutex::default());
                    return Ok(Self { db, files, watch, turn, corrupted: AtomicBool::new(false) });
                }
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

impl SledEngine {
    /// Looks at a key once for every [`TOUCH_BYTES`] that were read or written there.
    ///
    /// sled takes notice of what was used only when 64 uses have queued in one of 256 queues, and
    /// its leaves hold up to 16 items whatever their size. So 16,384 leaves that were used once
    /// stay in memory, half a gigabyte of long values, however small the cache is meant to be.
    /// More uses of the same leaf fill its queue sooner: the longer the values, the more.
    fn touch(&self, key: &[u8], bytes: &mut usize) -> Result<(), EngineError> {
        while *bytes >= TOUCH_BYTES {
            *bytes -= TOUCH_BYTES;
            self.db.get(key).map_err(|error| self.failure(&error))?;
        }
        Ok(())
    }

    fn failure(&self, error: &sled::Error) -> EngineError {
        if matches!(error, sled::Error::Corruption { .. }) {
            self.corrupted.store(true, Ordering::Release);
        }
        failure(error)
    }
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

impl StateEngine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(value) = self.db.get(key).map_err(|error| self.failure(&error))? else {
            return Ok(None);
        };
        self.touch(key, &mut value.len())?;
        Ok(Some(value.to_vec()))
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
            Err(error) => Err(self.failure(&error)),
        };
        let pairs: Vec<_> =
            self.db.range(from..to).take(limit).map(pair).collect::<Result<_, _>>()?;
        let mut bytes = 0;
        for (key, value) in &pairs {
            bytes += value.len();
            self.touch(key, &mut bytes)?;
        }
        Ok(pairs)
    }

    fn write(&self, writes: Writes) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        let mut touches = Vec::new();
        let mut bytes = 0;
        for (key, value) in writes {
            let Some(value) = value else {
                batch.remove(key);
                continue;
            };
            bytes += value.len();
            if bytes >= TOUCH_BYTES {
                touches.push((key.clone(), std::mem::take(&mut bytes)));
            }
            batch.insert(key, value);
        }
        let _turn = self.turn.lock().expect("sled's panics end the process");
        let _writing = self.watch.writing();
        self.db.apply_batch(batch).map_err(|error| self.failure(&error))?;
        // Before the next batch sled's pool is idle again.
        self.db.flush().map_err(|error| self.failure(&error))?;
        touches.into_iter().try_for_each(|(key, mut bytes)| self.touch(&key, &mut bytes))
    }

    fn flush(&self) -> Result<(), EngineError> {
        let _writing = self.watch.writing();
        self.db.flush().map(|_| ()).map_err(|error| self.failure(&error))
    }

    fn verify(&self, bytes_max: usize) -> Result<Verified, EngineError> {
        let settle = || self.flush().map_err(std::io::Error::other);
        let verified = self.files.verify(bytes_max, &settle);
        verified.map_err(|error| EngineError(error.to_string()))
    }

    fn is_corrupted(&self) -> bool {
        self.corrupted.load(Ordering::Acquire)
    }

    fn clear(&self) -> Result<(), EngineError> {
        let _writing = self.watch.writing();
        self.db.clear().map_err(|error| self.failure(&error))
    }

    fn size_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

fn failure(error: &sled::Error) -> EngineError {
    EngineError(error.to_string())
}

/// Forty times longer than any write was seen to take on a slow disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// sled's own choice, said aloud because its files are read without it.
pub(super) const SEGMENT_BYTES: usize = 512 << 10;
/// Pages sled keeps in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// A part of a long value has four times this.
const TOUCH_BYTES: usize = 1 << 10;
const LOCK_TRIES_MAX: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

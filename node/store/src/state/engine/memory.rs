//! The engine of simulated nodes: it fails the way a disk does, and the same way for one seed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::{EngineError, StateEngine, Writes};

/// An ordered map in memory that remembers what was not flushed yet.
#[derive(Default)]
pub struct MemoryEngine {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Batches since the last flush, oldest first, each with what stood before.
    unflushed: Vec<Vec<Change>>,
    bytes: u64,
}

struct Change {
    key: Vec<u8>,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

/// What a power cut does to batches that were not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Every one is lost.
    All,
    /// The newest ones are lost, down to a random one: the state is an older one.
    Suffix,
    /// As `Suffix`, and of the newest that survives only some pairs do.
    Torn,
}

impl MemoryEngine {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power. `rng` decides how far the loss goes; nothing flushed is touched.
    pub fn crash(&self, loss: Loss, rng: &mut dyn FnMut() -> u64) {
        let mut inner = self.lock();
        let batches = std::mem::take(&mut inner.unflushed);
        for change in batches.iter().rev().flat_map(|batch| batch.iter().rev()) {
            inner.set(&change.key, change.before.clone());
        }
        let kept = match loss {
            Loss::All => 0,
            Loss::Suffix | Loss::Torn => pick(rng, batches.len() + 1),
        };
        for (number, batch) in batches.into_iter().take(kept).enumerate() {
            let torn = loss == Loss::Torn && number + 1 == kept;
            for change in batch {
                if !torn || rng().is_multiple_of(2) {
                    inner.set(&change.key, change.after);
                }
            }
        }
    }

    /// Flips one bit of one stored value; false where nothing is stored.
    pub fn damage(&self, rng: &mut dyn FnMut() -> u64) -> bool {
        let mut inner = self.lock();
        let candidates = inner.pairs.values().filter(|value| !value.is_empty()).count();
        if candidates == 0 {
            return false;
        }
        let chosen = pick(rng, candidates);
        let mut values = inner.pairs.values_mut().filter(|value| !value.is_empty());
        let value = values.nth(chosen).expect("counted before");
        let at = pick(rng, value.len());
        value[at] ^= 1 << (rng() % 8);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while the engine is locked")
    }
}

impl Inner {
    /// Sets or removes a pair and returns what stood before.
    fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let added = value.as_ref().map_or(0, |value| key.len() + value.len());
        let before = match value {
            Some(value) => self.pairs.insert(key.to_vec(), value),
            None => self.pairs.remove(key),
        };
        let removed = before.as_ref().map_or(0, |before| key.len() + before.len());
        self.bytes = self.bytes + added as u64 - removed as u64;
        before
    }
}

impl StateEngine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.lock().pairs.get(key).cloned())
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
        let inner = self.lock();
        let pairs = inner.pairs.range(from.to_vec()..to.to_vec()).take(limit);
        Ok(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, writes: Writes) -> Result<(), EngineError> {
        let mut inner = self.lock();
        let mut batch = Vec::with_capacity(writes.len());
        for (key, after) in writes {
            let before = inner.set(&key, after.clone());
            batch.push(Change { key, before, after });
        }
        inner.unflushed.push(batch);
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.lock().unflushed.clear();
        Ok(())
    }

    fn clear(&self) -> Result<(), EngineError> {
        *self.lock() = Inner::default();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.lock().bytes
    }
}

fn pick(rng: &mut dyn FnMut() -> u64, below: usize) -> usize {
    (rng() % below as u64) as usize
}

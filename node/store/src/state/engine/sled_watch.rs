//! Ends the process where sled does not come back from a write.
//!
//! sled 0.34 has a deadlock. A writer that needs a new segment holds the segment accountant's lock
//! while it waits for the file to be cut, a job of sled's pool of seven threads; where all of them
//! are at that lock, for segments that were filled before, none is left for the cut. The pool does
//! not grow (it counts its idle threads below zero, which is more than enough). So no more than a
//! few segments are ever written at once ([`BATCH_BYTES`](super::super::overlay::BATCH_BYTES)
//! and a flush after each batch see to it), and for what is left there is this watch: the next start
//! opens or rebuilds the state.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// Watches the writes of one database.
pub(super) struct SledWatch {
    writes: Arc<Writes>,
    /// Dropped to end the watch.
    _alive: Sender<()>,
}

/// Writes begun and ended so far. Where both stand still and differ, one is stuck.
#[derive(Default)]
struct Writes {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A write on its way.
pub(super) struct Writing<'a>(&'a Writes);

impl SledWatch {
    /// `stuck` is called once, after a write took `patience` to twice that.
    pub(super) fn start(
        patience: Duration,
        stuck: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let writes = Arc::new(Writes::default());
        let (alive, dropped) = mpsc::channel::<()>();
        let watched = Arc::clone(&writes);
        std::thread::Builder::new().name("sled-watch".to_owned()).spawn(move || {
            let mut before = (0, 0);
            while dropped.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                let now = watched.now();
                if now == before && now.0 != now.1 {
                    return stuck();
                }
                before = now;
            }
        })?;
        Ok(Self { writes, _alive: alive })
    }

    /// To be held while sled writes.
    pub(super) fn writing(&self) -> Writing<'_> {
        self.writes.begun.fetch_add(1, Ordering::AcqRel);
        Writing(&self.writes)
    }
}

impl Writes {
    fn now(&self) -> (u64, u64) {
        (self.begun.load(Ordering::Acquire), self.ended.load(Ordering::Acquire))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}

/// What a stuck write leads to.
pub(super) fn end_process() {
    tracing::error!(
        "the state engine does not come back from a write: this process ends; start it again, and the state is opened or rebuilt"
    );
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_that_is_stuck_is_noticed() {
        let (told, heard) = mpsc::channel();
        let watch = SledWatch::start(Duration::from_millis(20), move || {
            told.send(()).expect("the test waits");
        });
        let watch = watch.unwrap();
        for _ in 0..50 {
            drop(watch.writing());
        }
        assert_eq!(heard.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
        let _stuck = watch.writing();
        heard.recv_timeout(Duration::from_secs(30)).unwrap();
    }
}

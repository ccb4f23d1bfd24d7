//! Ends a deadlock of sled 0.34.
//!
//! A writer that needs a new segment holds the segment accountant's lock while it waits for the file
//! to be cut, a job of sled's pool. The pool's threads may all be at that lock by then, for the
//! segments that the same writer filled; and the pool grows only where more than seven jobs queue,
//! so the cut waits for a thread and the threads wait for the cut, for ever. Every asynchronous
//! flush is one job more. So a write that does not come back gets sled some of them, until the
//! pool is large enough for the cut to have its turn; the flushes end with it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::task::{Context, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// Watches the writes of one database.
pub(super) struct SledNudge {
    writes: Arc<Writes>,
    /// Dropped to end the watch.
    alive: Option<Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

/// Writes begun and ended so far. Where both stand still and differ, one is stuck.
#[derive(Default)]
struct Writes {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A write on its way.
pub(super) struct Writing<'a>(&'a Writes);

impl SledNudge {
    pub(super) fn start(db: sled::Db) -> io::Result<Self> {
        let writes = Arc::new(Writes::default());
        let (alive, dropped) = mpsc::channel::<()>();
        let watched = Arc::clone(&writes);
        let watch = std::thread::Builder::new().name("sled-nudge".to_owned()).spawn(move || {
            let mut before = (0, 0);
            while dropped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let now = watched.now();
                if now == before && now.0 != now.1 {
                    nudge(&db);
                }
                before = now;
            }
        })?;
        Ok(Self { writes, alive: Some(alive), watch: Some(watch) })
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

impl Drop for SledNudge {
    fn drop(&mut self) {
        // The watch holds the database too: its files are free once it has ended.
        self.alive = None;
        if let Some(watch) = self.watch.take()
            && watch.join().is_err()
        {
            tracing::error!("the watch over the state engine's writes had panicked");
        }
    }
}

/// Queues enough jobs for sled's pool to grow. The first poll queues one; nobody waits for it.
fn nudge(db: &sled::Db) {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..JOBS {
        let flush = pin!(db.flush_async());
        // Its outcome is that of the write it helps.
        let _ = flush.poll(&mut context);
    }
}

/// A write of one batch takes some 50 ms.
const PATIENCE: Duration = Duration::from_millis(250);
/// More than the seven that sled lets queue.
const JOBS: usize = 12;

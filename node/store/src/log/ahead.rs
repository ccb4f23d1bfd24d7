//! The next segment, made before it is needed.
//!
//! Zeroing a segment while writers wait stalls them for as long as the disk needs for all of it.
//! So while a thread runs the writer, a second one prepares the next file and removes old ones.
//! Drivers without threads get the same work done on the spot.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::DIRECTORY;
use crate::disk::{Disk, File, Open};

/// The prepared file, until it becomes a segment.
pub(super) const NEXT_PATH: &str = "log/next";
/// Jobs that wait for the second thread; the writer waits where there are more.
const JOBS_MAX: usize = 16;
const ZEROS_BYTES: usize = 256 << 10;

/// Prepares segments and removes old ones.
pub(super) struct Ahead {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    second: Option<Second>,
}

/// The second thread.
struct Second {
    jobs: SyncSender<Job>,
    /// A file is prepared or being prepared there.
    under_way: bool,
    prepared: Receiver<io::Result<Arc<dyn File>>>,
    thread: JoinHandle<()>,
}

enum Job {
    Prepare,
    Remove(Vec<String>),
}

impl Ahead {
    pub(super) fn new(disk: Arc<dyn Disk>, segment_bytes: u64) -> Self {
        Self { disk, segment_bytes, second: None }
    }

    /// Hands the work to a second thread from now on.
    pub(super) fn start_thread(&mut self) -> io::Result<()> {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let (results, prepared) = sync_channel(1);
        let (disk, segment_bytes) = (Arc::clone(&self.disk), self.segment_bytes);
        let work = move || {
            for job in queue {
                match job {
                    Job::Remove(paths) => remove_all(disk.as_ref(), &paths),
                    Job::Prepare => {
                        if results.send(prepare(disk.as_ref(), segment_bytes)).is_err() {
                            return;
                        }
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("log-ahead".to_owned()).spawn(work)?;
        jobs.send(Job::Prepare).map_err(|_| gone())?;
        self.second = Some(Second { jobs, under_way: true, prepared, thread });
        Ok(())
    }

    /// Ends the second thread.
    pub(super) fn stop_thread(&mut self) {
        if let Some(Second { jobs, prepared, thread, .. }) = self.second.take() {
            drop((jobs, prepared));
            if thread.join().is_err() {
                tracing::error!("the thread that prepares log segments had panicked");
            }
        }
    }

    /// A zeroed, synced file at [`NEXT_PATH`] of at least `bytes`. Where there is no space for it
    /// ([`is_full`]) it leaves nothing, and may be called again.
    pub(super) fn take(&mut self, bytes: u64) -> io::Result<Arc<dyn File>> {
        if let Some(second) = self.second.as_mut().filter(|second| second.under_way) {
            second.under_way = false;
            match second.prepared.recv().map_err(|_| gone())? {
                Ok(file) if bytes <= self.segment_bytes => return Ok(file),
                // Too small for what comes, or there was no space then and may be some now.
                Ok(_) => {}
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        prepare(self.disk.as_ref(), bytes.max(self.segment_bytes))
    }

    /// Begins to prepare the next file, after the last one was renamed.
    pub(super) fn begin_next(&mut self) -> io::Result<()> {
        let Some(second) = &mut self.second else { return Ok(()) };
        second.jobs.send(Job::Prepare).map_err(|_| gone())?;
        second.under_way = true;
        Ok(())
    }

    /// Removes files that nothing needs. Where that fails they stay until the next start.
    pub(super) fn remove(&self, paths: Vec<String>) {
        let Some(second) = &self.second else { return remove_all(self.disk.as_ref(), &paths) };
        if second.jobs.send(Job::Remove(paths)).is_err() {
            tracing::warn!("old log segments stay on disk until the next start");
        }
    }
}

/// Whether an error says that there is no space, and nothing else.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the file at [`NEXT_PATH`], whatever stood there. Recovery does not look at that name.
fn prepare(disk: &dyn Disk, bytes: u64) -> io::Result<Arc<dyn File>> {
    let prepared = zeroed(disk, bytes);
    if prepared.as_ref().is_err_and(is_full)
        && let Err(error) = disk.remove(NEXT_PATH)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a half-made log segment takes space until the next one is made");
    }
    prepared
}

fn zeroed(disk: &dyn Disk, bytes: u64) -> io::Result<Arc<dyn File>> {
    let file = disk.open(NEXT_PATH, Open::Any)?;
    file.set_len(0)?;
    file.allocate(bytes)?;
    // Reserved blocks still cost a metadata write on first use; zeros that were really written
    // do not.
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = 0;
    while at < bytes {
        let piece = (bytes - at).min(ZEROS_BYTES as u64);
        file.write_at(at, &zeros[..usize::try_from(piece).expect("at most the piece")])?;
        at += piece;
    }
    file.sync()?;
    Ok(file)
}

/// Removes in the given order, oldest first.
fn remove_all(disk: &dyn Disk, paths: &[String]) {
    for path in paths {
        if let Err(error) = disk.remove(path) {
            tracing::warn!(%path, %error, "an old log segment stays on disk until the next start");
        }
    }
    if let Err(error) = disk.sync_dir(DIRECTORY) {
        tracing::warn!(%error, "removed log segments may come back after a power cut");
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that prepares log segments has ended: restart this node")
}

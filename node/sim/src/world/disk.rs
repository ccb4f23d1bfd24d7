//! A disk as one process sees it: what a dying process would still do to it is not done, and each
//! operation is a moment at which the power may fail.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conclave_store::disk::{Disk, File, MemoryDisk, Open};
use conclave_store::state::{EngineError, MemoryEngine, StateEngine, Writes};

use crate::Plant;
use crate::world::life::Life;
use crate::world::power::Moment;

/// The log's next segment, before it has its name.
const NEXT_SEGMENT: &str = "log/next";

/// What a machine's disk does wrong, set by faults and read by the process on it.
#[derive(Default)]
pub(crate) struct Mood {
    /// Added to each write of the log.
    pub(crate) slow_us: AtomicU64,
    /// Nothing is written as long as it is set.
    pub(crate) hung: AtomicBool,
    /// Errors of the disk were arranged: a process that ends by them does right.
    pub(crate) failing: AtomicBool,
    /// Space was taken away: what asks for more is refused, and no process ends by that.
    pub(crate) full: AtomicBool,
}

impl Mood {
    /// How much longer a write of the log takes.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_micros(self.slow_us.load(Ordering::Relaxed))
    }

    pub(crate) fn is_hung(&self) -> bool {
        self.hung.load(Ordering::Relaxed)
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// The disk is a good one again.
    pub(crate) fn mend(&self) {
        self.slow_us.store(0, Ordering::Relaxed);
        self.hung.store(false, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
        self.full.store(false, Ordering::Relaxed);
    }
}

/// What the process that uses a disk is about, beyond what paths tell.
#[derive(Default)]
pub(crate) struct Doing {
    /// What the log's writer is writing.
    group: Mutex<Vec<Moment>>,
    started: AtomicBool,
}

impl Doing {
    /// The writer begins a group that holds these.
    pub(crate) fn begin_group(&self, moments: Vec<Moment>) {
        *self.group.lock().unwrap_or_else(PoisonError::into_inner) = moments;
    }

    /// All files are open.
    pub(crate) fn has_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    fn group(&self) -> Vec<Moment> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Works as long as its process lives. Files that are open when it ends are cut off by the disk.
#[derive(Clone)]
pub(crate) struct LivingDisk {
    process: Process,
    disk: MemoryDisk,
    /// Of the file at [`NEXT_SEGMENT`]: whether it became a segment.
    next: Arc<Mutex<Arc<AtomicBool>>>,
}

#[derive(Clone)]
struct Process {
    life: Life,
    doing: Arc<Doing>,
    plant: Option<Plant>,
}

impl Process {
    /// Does something to the disk, unless the process has ended or the power fails before.
    fn act<T>(&self, moments: &[Moment], act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.life.has_ended() {
            return Err(io::Error::other("the process has ended"));
        }
        let starting = [Moment::Start];
        let moments =
            if self.doing.started.load(Ordering::Relaxed) { moments } else { &starting[..] };
        let Some(cut) = self.life.world().and_then(|world| world.power.reaches(moments)) else {
            return act();
        };
        if cut.after {
            drop(act());
        }
        if let Some(world) = self.life.world() {
            world.end_all(cut.moment);
        }
        Err(io::Error::other("the power failed"))
    }

    /// What is done to a file, by its path.
    fn moments(&self, path: &str, in_place: bool) -> Vec<Moment> {
        if path == NEXT_SEGMENT {
            vec![Moment::SegmentRoll]
        } else if path.starts_with("log") {
            if in_place { self.doing.group() } else { vec![Moment::SegmentRoll] }
        } else if path.starts_with("snapshots") {
            vec![if in_place { Moment::SnapshotWrite } else { Moment::SnapshotRename }]
        } else {
            vec![Moment::SmallFile]
        }
    }

    /// Whether a planted bug leaves out this sync.
    fn skips_sync(&self, path: &str) -> bool {
        match self.plant {
            Some(Plant::SkippedVoteFsync) => {
                path.starts_with("log/") && self.doing.group().contains(&Moment::Vote)
            }
            Some(Plant::SkippedSnapshotFsync) => path.starts_with("snapshots/"),
            _ => false,
        }
    }
}

impl LivingDisk {
    pub(crate) fn new(
        life: Life,
        doing: Arc<Doing>,
        plant: Option<Plant>,
        disk: MemoryDisk,
    ) -> Self {
        Self { process: Process { life, doing, plant }, disk, next: Arc::default() }
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Arc<AtomicBool>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for LivingDisk {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.process.act(&[], || self.disk.list(directory))
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.process.act(&[], || self.disk.create_dir(directory))
    }

    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.process.act(&[], || self.disk.open(path, how))?;
        let renamed = Arc::new(AtomicBool::new(false));
        if path == NEXT_SEGMENT {
            *self.next() = renamed.clone();
        }
        let process = self.process.clone();
        Ok(Arc::new(LivingFile { process, path: path.to_owned(), renamed, file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let moments = self.process.moments(to, false);
        self.process.act(&moments, || self.disk.rename(from, to))?;
        if from == NEXT_SEGMENT {
            self.next().store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let purging = [Moment::Purge];
        let moments = self.process.moments(path, false);
        let moments = if path.starts_with("log") { &purging[..] } else { &moments };
        self.process.act(moments, || self.disk.remove(path))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.process.act(&[], || self.disk.free_bytes())
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let moments = self.process.moments(directory, false);
        let skip = self.process.plant == Some(Plant::SkippedDirectoryFsync);
        let sync = || if skip { Ok(()) } else { self.disk.sync_dir(directory) };
        self.process.act(&moments, sync)
    }
}

struct LivingFile {
    process: Process,
    path: String,
    /// It was opened as the log's next segment and is one now.
    renamed: Arc<AtomicBool>,
    file: Arc<dyn File>,
}

impl LivingFile {
    fn act<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let is_segment = self.renamed.load(Ordering::Relaxed);
        let path = if is_segment { "log/" } else { &self.path };
        let moments = self.process.moments(path, true);
        self.process.act(&moments, act)
    }
}

impl File for LivingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.act(|| self.file.write_at(offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        let skip = self.process.skips_sync(&self.path);
        self.act(|| if skip { Ok(()) } else { self.file.sync() })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.act(|| self.file.allocate(bytes))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.act(|| self.file.set_len(bytes))
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// The engine of one process.
pub(crate) struct LivingEngine {
    process: Process,
    engine: Arc<MemoryEngine>,
}

impl LivingEngine {
    pub(crate) fn new(life: Life, doing: Arc<Doing>, engine: Arc<MemoryEngine>) -> Self {
        Self { process: Process { life, doing, plant: None }, engine }
    }

    fn act(&self, act: impl FnOnce() -> Result<(), EngineError>) -> Result<(), EngineError> {
        let acting = || act().map_err(|error| io::Error::other(error.to_string()));
        let acted = self.process.act(&[Moment::EngineFlush], acting);
        acted.map_err(|error| EngineError(error.to_string()))
    }
}

impl StateEngine for LivingEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.engine.get(key)
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, EngineError> {
        self.engine.range(from, to, limit)
    }

    fn write(&self, writes: Writes) -> Result<(), EngineError> {
        self.act(|| self.engine.write(writes))
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.act(|| self.engine.flush())
    }

    fn clear(&self) -> Result<(), EngineError> {
        self.act(|| self.engine.clear())
    }

    fn size_bytes(&self) -> u64 {
        self.engine.size_bytes()
    }
}

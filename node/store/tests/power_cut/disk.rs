//! A disk that writes real files and keeps a model of what of them is durable.
//!
//! Every operation is done twice: on a [`RealDisk`], by the kernel, and on a [`MemoryDisk`], which
//! knows what a power cut may take away. At a chosen moment the power is cut: the operation is not
//! done, or done and not answered, and everything later fails. What the cut left is then asked of
//! the model and written to a new directory.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use conclave_store::disk::{Disk, File, MemoryDisk, Open, RealDisk};

/// What the disk, or the node above it, is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    Append,
    Vote,
    Truncate,
    Purge,
    SegmentRoll,
    Mark,
    SnapshotWrite,
    SnapshotRename,
    Identity,
    SledFlush,
    Recovery,
}

/// What the node does; it tells the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Opening,
    Append,
    Vote,
    Truncate,
    Purge,
    Other,
}

/// Cuts the power at the moment after `later` more of its kind, before or after what is done then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) moment: Moment,
    pub(crate) later: u64,
    pub(crate) done: bool,
}

/// Clones are the same disk.
#[derive(Clone)]
pub(crate) struct TracedDisk {
    shared: Arc<Shared>,
}

struct Shared {
    real: RealDisk,
    model: MemoryDisk,
    dead: AtomicBool,
    tracer: Mutex<Tracer>,
}

struct Tracer {
    work: Work,
    plan: Option<Plan>,
}

struct TracedFile {
    shared: Arc<Shared>,
    path: String,
    real: Arc<dyn File>,
    model: Arc<dyn File>,
    /// What was written last: what a sync is about.
    last: Mutex<Moment>,
}

impl Moment {
    pub(crate) const ALL: [Self; 11] = [
        Self::Append,
        Self::Vote,
        Self::Truncate,
        Self::Purge,
        Self::SegmentRoll,
        Self::Mark,
        Self::SnapshotWrite,
        Self::SnapshotRename,
        Self::Identity,
        Self::SledFlush,
        Self::Recovery,
    ];
}

impl Plan {
    pub(crate) fn draw(moment: Moment, random: &mut impl FnMut() -> u64) -> Self {
        let span = match moment {
            Moment::SegmentRoll | Moment::SnapshotWrite | Moment::Recovery => 24,
            Moment::SnapshotRename | Moment::Identity => 12,
            _ => 8,
        };
        Self { moment, later: random() % span, done: random().is_multiple_of(2) }
    }
}

impl TracedDisk {
    /// Writes what `model` holds to the directory `root`, and goes on there.
    pub(crate) fn new(root: &Path, model: MemoryDisk, plan: Option<Plan>) -> io::Result<Self> {
        let real = RealDisk::open(root)?;
        for (path, bytes) in model.contents() {
            if let Some((directory, _)) = path.rsplit_once('/') {
                real.create_dir(directory)?;
            }
            real.open(&path, Open::New)?.write_at(0, &bytes)?;
        }
        let tracer = Tracer { work: Work::Opening, plan };
        let (dead, tracer) = (AtomicBool::new(false), Mutex::new(tracer));
        Ok(Self { shared: Arc::new(Shared { real, model, dead, tracer }) })
    }

    pub(crate) fn begin(&self, work: Work) {
        self.shared.tracer().work = work;
    }

    /// A moment that is none of the disk's own.
    pub(crate) fn meet(&self, moment: Moment) {
        let _ = self.shared.step(moment, || Ok(()));
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn cut(&self) {
        self.shared.dead.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn tracer(&self) -> MutexGuard<'_, Tracer> {
        self.tracer.lock().expect("no holder of the tracer panics")
    }

    /// Runs an operation unless the power is cut before it.
    fn step<T>(&self, moment: Moment, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let cut = || io::Error::other("the power is cut");
        if self.dead.load(Ordering::Relaxed) {
            return Err(cut());
        }
        let Some(plan) = self.tracer().meet(moment) else { return run() };
        if plan.done {
            run()?;
        }
        self.dead.store(true, Ordering::Relaxed);
        Err(cut())
    }

    /// Both disks must say the same.
    fn both<T: PartialEq + std::fmt::Debug>(
        &self,
        path: &str,
        real: io::Result<T>,
        model: io::Result<T>,
    ) -> io::Result<T> {
        match (&real, &model) {
            (Ok(real), Ok(model)) => assert_eq!(real, model, "{path}"),
            (Err(real), Err(model)) => assert_eq!(real.kind(), model.kind(), "{path}"),
            _ => panic!("{path}: the real disk says {real:?} and its model {model:?}"),
        }
        real
    }
}

impl Tracer {
    /// The plan where its moment is now.
    fn meet(&mut self, moment: Moment) -> Option<Plan> {
        let moment = if self.work == Work::Opening { Moment::Recovery } else { moment };
        let plan = self.plan.as_mut().filter(|plan| plan.moment == moment)?;
        if plan.later == 0 {
            return self.plan.take();
        }
        plan.later -= 1;
        None
    }

    /// What a change of names in the directory of `path` is about.
    fn of_names(&self, path: &str) -> Moment {
        match path.split('/').next() {
            Some("log") if self.work == Work::Purge => Moment::Purge,
            Some("log") => Moment::SegmentRoll,
            Some("snapshots") => Moment::SnapshotRename,
            _ => Moment::Identity,
        }
    }

    /// What a write to the file at `path` is about.
    fn of_write(&self, path: &str, bytes: &[u8]) -> Moment {
        match (path.split('/').next(), path) {
            (Some("snapshots"), _) => Moment::SnapshotWrite,
            (_, "log/mark") => Moment::Mark,
            (Some("log"), _) if bytes.starts_with(b"CBAT") => match self.work {
                Work::Vote => Moment::Vote,
                Work::Truncate => Moment::Truncate,
                Work::Purge => Moment::Purge,
                _ => Moment::Append,
            },
            (Some("log"), _) => Moment::SegmentRoll,
            _ => Moment::Identity,
        }
    }
}

impl Disk for TracedDisk {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let Shared { real, model, .. } = &*self.shared;
        self.shared.both(directory, real.list(directory), model.list(directory))
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        let Shared { real, model, .. } = &*self.shared;
        let moment = self.shared.tracer().of_names(directory);
        self.shared.step(moment, || {
            self.shared.both(directory, real.create_dir(directory), model.create_dir(directory))
        })
    }

    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let moment = self.shared.tracer().of_names(path);
        let (real, model) = self.shared.step(moment, || {
            let (real, model) =
                (self.shared.real.open(path, how), self.shared.model.open(path, how));
            match (real, model) {
                (Ok(real), Ok(model)) => Ok((real, model)),
                (Err(real), Err(model)) if real.kind() == model.kind() => Err(real),
                (real, model) => {
                    panic!(
                        "{path}: the real disk says {:?} and its model {:?}",
                        real.err(),
                        model.err()
                    )
                }
            }
        })?;
        let last = Mutex::new(self.shared.tracer().of_write(path, b""));
        let shared = Arc::clone(&self.shared);
        Ok(Arc::new(TracedFile { shared, path: path.to_owned(), real, model, last }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let Shared { real, model, .. } = &*self.shared;
        let moment = self.shared.tracer().of_names(to);
        self.shared
            .step(moment, || self.shared.both(to, real.rename(from, to), model.rename(from, to)))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let Shared { real, model, .. } = &*self.shared;
        let moment = self.shared.tracer().of_names(path);
        self.shared.step(moment, || self.shared.both(path, real.remove(path), model.remove(path)))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.shared.real.free_bytes()
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let Shared { real, model, .. } = &*self.shared;
        let moment = self.shared.tracer().of_names(directory);
        self.shared.step(moment, || {
            self.shared.both(directory, real.sync_dir(directory), model.sync_dir(directory))
        })
    }
}

impl TracedFile {
    fn last(&self) -> Moment {
        *self.last.lock().expect("no holder of the moment panics")
    }

    fn both<T: PartialEq + std::fmt::Debug>(
        &self,
        moment: Moment,
        run: impl Fn(&dyn File) -> io::Result<T>,
    ) -> io::Result<T> {
        self.shared.step(moment, || {
            self.shared.both(&self.path, run(self.real.as_ref()), run(self.model.as_ref()))
        })
    }
}

impl File for TracedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.shared.dead.load(Ordering::Relaxed) {
            return Err(io::Error::other("the power is cut"));
        }
        let mut expected = vec![0; buffer.len()];
        let count = self.model.read_at(offset, &mut expected)?;
        let read = self.real.read_at(offset, buffer)?;
        assert_eq!(buffer[..read], expected[..count], "{} at {offset}", self.path);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let moment = self.shared.tracer().of_write(&self.path, bytes);
        *self.last.lock().expect("no holder of the moment panics") = moment;
        self.both(moment, |file| file.write_at(offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.both(self.last(), |file| file.sync())
    }

    fn drop_cache(&self) {
        self.real.drop_cache();
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.both(self.last(), |file| file.allocate(bytes))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.both(self.last(), |file| file.set_len(bytes))
    }

    fn len(&self) -> io::Result<u64> {
        self.real.len()
    }
}

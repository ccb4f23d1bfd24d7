//! A world for the tests here: one thread, virtual time, sinks in memory.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use conclave_ports::{Clock, Ports, Rng, Spawn};
use futures::future::BoxFuture;

use super::*;

const SALT: [u8; 32] = [9; 32];
const WALL_MS: u64 = 1_521_685_466_945;

/// The key of every test's device.
pub(crate) fn key() -> HashKey {
    HashKey::derive(|_| [7; 32], &SALT)
}

/// A JSON string with the hash of `text`.
pub(crate) fn hashed(text: &str) -> String {
    format!("\"{}\"", key().hash(text.as_bytes()))
}

/// Time that passes only when nothing else happens.
#[derive(Default)]
pub(crate) struct World {
    now: Mutex<Duration>,
    sleepers: Mutex<Vec<Duration>>,
    /// Of whoever found it too early; combinators poll only what was woken.
    wakers: Mutex<Vec<Waker>>,
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl World {
    pub(crate) fn ports(self: &Arc<Self>) -> Ports {
        let handle = || Arc::new(Handle(self.clone()));
        Ports { clock: handle(), rng: handle(), spawn: handle() }
    }

    /// Runs `future` and every task until it is done.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            for _ in 0..4 {
                if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                    return value;
                }
                let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
                let open = tasks.into_iter().filter_map(|mut task| {
                    task.as_mut().poll(&mut context).is_pending().then_some(task)
                });
                let open: Vec<_> = open.collect();
                self.tasks.lock().unwrap().extend(open);
            }
            self.advance();
        }
    }

    /// Lets time pass.
    pub(crate) fn sleep(self: &Arc<Self>, duration: Duration) {
        self.run(self.ports().clock.sleep(duration));
    }

    fn advance(&self) {
        let mut sleepers = self.sleepers.lock().unwrap();
        let next = sleepers.iter().copied().min().expect("nothing can happen any more");
        sleepers.retain(|due| *due != next);
        let mut now = self.now.lock().unwrap();
        *now = next.max(*now);
        drop(now);
        self.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    }
}

struct Handle(Arc<World>);

impl Clock for Handle {
    fn wall_ms(&self) -> u64 {
        WALL_MS
    }

    fn monotonic(&self) -> Duration {
        *self.0.now.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let due = self.monotonic() + duration;
        self.0.sleepers.lock().unwrap().push(due);
        let world = self.0.clone();
        Box::pin(std::future::poll_fn(move |context| {
            if *world.now.lock().unwrap() >= due {
                return Poll::Ready(());
            }
            world.wakers.lock().unwrap().push(context.waker().clone());
            Poll::Pending
        }))
    }
}

impl Rng for Handle {
    fn fill(&self, out: &mut [u8]) {
        out.fill(5);
    }
}

impl Spawn for Handle {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        self.0.tasks.lock().unwrap().push(task);
    }
}

/// What a memory sink holds and how it behaves.
pub(crate) struct Memory {
    /// The files, the newest last.
    pub(crate) files: Vec<Vec<u8>>,
    /// Bytes that still fit.
    pub(crate) space: usize,
    /// Nothing comes to its end.
    pub(crate) stalled: bool,
    /// Syncs fail.
    pub(crate) sync_fails: bool,
    pub(crate) syncs: usize,
    pub(crate) appends: usize,
    pub(crate) line_bytes_max: usize,
    /// The next `reopen` begins a new file.
    pub(crate) rotated: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            files: vec![Vec::new()],
            space: usize::MAX,
            stalled: false,
            sync_fails: false,
            syncs: 0,
            appends: 0,
            line_bytes_max: LINE_BYTES_MAX,
            rotated: false,
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct MemorySink(pub(crate) Arc<Mutex<Memory>>);

impl MemorySink {
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        self.change(|memory| String::from_utf8(memory.files.concat()).unwrap())
    }

    pub(crate) fn tail(&self) -> Tail {
        self.change(|memory| Tail::read(memory.files.last().unwrap(), ""))
    }

    pub(crate) fn start(&self, options: DeviceOptions, world: &Arc<World>) -> Arc<Device> {
        Device::start(options, Box::new(self.clone()), self.tail(), None, &world.ports())
    }
}

impl Sink for MemorySink {
    fn append(&mut self, lines: Vec<Bytes>) -> BoxFuture<'_, Result<(), AppendError>> {
        let sink = self.clone();
        Box::pin(async move {
            std::future::poll_fn(|_| match sink.change(|memory| memory.stalled) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            })
            .await;
            sink.change(|memory| {
                memory.appends += 1;
                for (number, line) in lines.iter().enumerate() {
                    let bytes = line.len().min(memory.space);
                    memory.space -= bytes;
                    memory.files.last_mut().unwrap().extend_from_slice(&line[..bytes]);
                    if bytes < line.len() {
                        return Err(AppendError { lines: number, bytes, error: SinkError::Full });
                    }
                }
                Ok(())
            })
        })
    }

    fn sync(&mut self) -> BoxFuture<'static, Result<(), SinkError>> {
        let sink = self.clone();
        Box::pin(async move {
            sink.change(|memory| {
                memory.syncs += 1;
                match memory.sync_fails {
                    true => Err(std::io::Error::from_raw_os_error(5).into()),
                    false => Ok(()),
                }
            })
        })
    }

    fn reopen(&mut self) -> BoxFuture<'_, Result<Tail, SinkError>> {
        self.change(|memory| {
            if std::mem::take(&mut memory.rotated) {
                memory.files.push(Vec::new());
            }
        });
        let tail = self.tail();
        Box::pin(async move { Ok(tail) })
    }

    fn line_bytes_max(&self) -> usize {
        self.change(|memory| memory.line_bytes_max)
    }
}

/// Compares `text` with a golden file of this folder; `UPDATE=1` writes it instead.
pub(crate) fn check_golden(name: &str, text: &str) {
    let path = [env!("CARGO_MANIFEST_DIR"), "/src/audit/golden/", name].concat();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file can be read");
    assert_eq!(text, golden, "{path}");
}

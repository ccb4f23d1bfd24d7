//! The life of one process: when it ends, its tasks end with it, wherever they stand.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use conclave_ports::Spawn;
use futures::future::{BoxFuture, Either};
use openraft::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use tokio::sync::{Notify, oneshot};

use crate::invariants::Violation;
use crate::world::World;

/// The list of tasks is cleaned of finished ones when it has grown by this many.
const TASKS_BEFORE_SWEEP: usize = 1_024;

thread_local! {
    /// Whose task is being polled: what it spawns belongs to the same process.
    static CURRENT: RefCell<Option<Life>> = const { RefCell::new(None) };
}

/// One process. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Life {
    inner: Arc<Inner>,
}

/// A process that may be gone already.
pub(crate) struct WeakLife(Weak<Inner>);

impl WeakLife {
    pub(crate) fn upgrade(&self) -> Option<Life> {
        self.0.upgrade().map(|inner| Life { inner })
    }
}

struct Inner {
    ended: AtomicBool,
    /// Whoever waits for one of its tasks hears of its end.
    ending: Notify,
    tasks: Mutex<Tasks>,
    world: Weak<World>,
}

#[derive(Default)]
struct Tasks {
    live: Vec<Weak<dyn Task>>,
    sweep_at: usize,
}

/// A task that can be ended from outside.
trait Task: Send + Sync {
    fn end(&self);
}

impl Life {
    /// A process that begins.
    pub(crate) fn begin(world: &Arc<World>) -> Self {
        let inner = Arc::new(Inner {
            ended: AtomicBool::new(false),
            ending: Notify::new(),
            tasks: Mutex::default(),
            world: Arc::downgrade(world),
        });
        world.note_life(WeakLife(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Where it lives.
    pub(crate) fn world(&self) -> Option<Arc<World>> {
        self.inner.world.upgrade()
    }

    /// The process whose task is being polled.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// From now on none of its tasks runs and its disk does nothing.
    pub(crate) fn end(&self) {
        self.inner.ended.store(true, Ordering::Relaxed);
        self.inner.ending.notify_waiters();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.inner.ended.load(Ordering::Relaxed)
    }

    /// Drops all tasks, in the order they were started.
    pub(crate) fn bury(&self) {
        self.end();
        let tasks = std::mem::take(&mut self.tasks().live);
        for task in tasks.iter().filter_map(Weak::upgrade) {
            task.end();
        }
    }

    /// A future that belongs to this process.
    pub(crate) fn own<F: Future + Send + 'static>(&self, future: F) -> Mortal<F> {
        let slot = Arc::new(Slot { future: Mutex::new(Some(Box::pin(future))) });
        let task: Arc<dyn Task> = slot.clone();
        let mut tasks = self.tasks();
        if tasks.live.len() >= tasks.sweep_at {
            tasks.live.retain(|task| task.strong_count() > 0);
            tasks.sweep_at = tasks.live.len() + TASKS_BEFORE_SWEEP;
        }
        tasks.live.push(Arc::downgrade(&task));
        Mortal { life: self.clone(), slot }
    }

    /// Runs `future` as a task of this process; nothing where the process ends first.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let ending = std::pin::pin!(self.inner.ending.notified());
        if self.has_ended() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let task = self.own(async move {
            // Whoever asked may be gone.
            drop(answer.send(future.await));
        });
        drop(SimRuntime::spawn(task));
        match futures::future::select(answered, ending).await {
            Either::Left((answer, _)) => answer.ok(),
            Either::Right(_) => None,
        }
    }

    /// How long work on a thread of its own takes.
    pub(crate) fn blocking_time(&self) -> Duration {
        self.world().map_or(Duration::ZERO, |world| world.blocking_time())
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Tasks> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report_panic(&self, payload: &(dyn std::any::Any + Send)) {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        if let Some(world) = self.world() {
            world.report(Violation::new("no task panics", text.unwrap_or_default()));
        }
    }
}

impl Spawn for Life {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        if !self.has_ended() {
            drop(SimRuntime::spawn(self.own(task)));
        }
    }
}

struct Slot<F> {
    /// None while it is polled, and once it ended.
    future: Mutex<Option<Pin<Box<F>>>>,
}

impl<F> Slot<F> {
    fn take(&self) -> Option<Pin<Box<F>>> {
        self.future.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, future: Pin<Box<F>>) {
        *self.future.lock().unwrap_or_else(PoisonError::into_inner) = Some(future);
    }
}

impl<F: Send> Task for Slot<F> {
    fn end(&self) {
        drop(self.take());
    }
}

/// A future of a process. It stays pending for ever once the process has ended.
pub(crate) struct Mortal<F> {
    life: Life,
    slot: Arc<Slot<F>>,
}

impl<F: Future> Future for Mortal<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.life.has_ended() {
            return Poll::Pending;
        }
        let Some(mut future) = self.slot.take() else { return Poll::Pending };
        let before = CURRENT.with(|current| current.borrow_mut().replace(self.life.clone()));
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            future.as_mut().poll(context)
        }));
        CURRENT.with(|current| *current.borrow_mut() = before);
        match polled {
            Ok(Poll::Ready(output)) => Poll::Ready(output),
            Ok(Poll::Pending) => {
                if !self.life.has_ended() {
                    self.slot.put(future);
                }
                Poll::Pending
            }
            Err(payload) => {
                self.life.report_panic(&*payload);
                std::panic::resume_unwind(payload)
            }
        }
    }
}

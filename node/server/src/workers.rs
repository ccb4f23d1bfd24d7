//! Threads for what computes for long: password hashes must not hold up the tasks that serve.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use conclave_mount::Workers;

type Work = Box<dyn FnOnce() + Send>;

/// A few threads behind a short queue. They end with the last handle, once the queue is empty.
#[derive(Clone)]
pub struct WorkerThreads {
    queue: SyncSender<Work>,
}

impl WorkerThreads {
    /// Starts half as many threads as the machine has, so that a flood of logins leaves the rest to
    /// everybody else.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn start() -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2));
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = waiting.clone();
            let thread = std::thread::Builder::new().name("worker".to_owned());
            thread.spawn(move || work_on(&waiting))?;
        }
        Ok(Self { queue })
    }
}

impl Workers for WorkerThreads {
    fn start(&self, work: Work) -> bool {
        self.queue.try_send(work).is_ok()
    }
}

fn work_on(waiting: &Mutex<Receiver<Work>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        // Whoever waits for the result learns that it ended without one.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
            tracing::error!("a computation panicked");
        }
    }
}

/// At 50 ms each, the last one waits for a few seconds.
const WAITING_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_and_a_panic_ends_no_thread() {
        let workers = WorkerThreads::start().expect("threads start");
        for _ in 0..64 {
            assert!(workers.start(Box::new(|| panic!("on purpose"))));
        }
        let (sender, done) = sync_channel(1);
        assert!(workers.start(Box::new(move || sender.send(7).expect("the test waits"))));
        assert_eq!(done.recv(), Ok(7));
    }

    #[test]
    fn what_cannot_wait_is_refused() {
        let workers = WorkerThreads::start().expect("threads start");
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().expect("nobody has it");
        let mut taken = 0;
        while taken <= WAITING_MAX * 4 {
            let gate = gate.clone();
            if !workers.start(Box::new(move || drop(gate.lock()))) {
                break;
            }
            taken += 1;
        }
        assert!((WAITING_MAX..WAITING_MAX * 4).contains(&taken), "{taken}");
        drop(closed);
    }
}

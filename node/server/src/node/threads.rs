//! The threads of a member: one writes the log, one moves the overlay into sled, one reads sled
//! over and over to find damage before it is needed.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use conclave_ports::Clock;
use conclave_store::log::{LogEvent, LogWriter};
use conclave_store::state::{Scrub, State, StateError};

use super::space::Space;

/// Told what is wrong with the state, once.
pub(super) type Damaged = Arc<dyn Fn(String) + Send + Sync>;

/// What the threads work on.
pub(super) struct Work {
    pub(super) writer: LogWriter,
    pub(super) state: State,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) space: Arc<Space>,
    /// How much of the state is read again each second; 0 for nothing.
    pub(super) scrub_bytes_per_s: u64,
    pub(super) damaged: Damaged,
}

/// The running threads.
pub(super) struct Threads {
    stopping: Arc<AtomicBool>,
    state_fails: Arc<AtomicBool>,
    handles: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    pub(super) fn start(work: Work) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let state_fails = Arc::new(AtomicBool::new(false));
        let Work { mut writer, state, clock, space, scrub_bytes_per_s, damaged } = work;
        writer.set_observer(observe_log(clock));
        let mut handles = vec![spawn("log-writer", move || writer.run())?];
        let (flag, fails, flushed) = (stopping.clone(), state_fails.clone(), state.clone());
        let flush = move || flush_until_stopped(&flushed, &space, &flag, &fails);
        handles.push(spawn("state-flush", flush)?);
        if scrub_bytes_per_s > 0 {
            let (flag, fails) = (stopping.clone(), state_fails.clone());
            let scrub = move || {
                let mut scrub = Scrub::default();
                let step = || state.scrub(&mut scrub, SCRUB_STEP_RECORDS);
                scrub_until_stopped(step, scrub_bytes_per_s, &flag, &fails, &damaged);
            };
            handles.push(spawn("state-scrub", scrub)?);
        }
        Ok(Self { stopping, state_fails, handles: std::sync::Mutex::new(handles) })
    }

    /// Whether the newest attempt to write the state failed.
    pub(super) fn state_fails(&self) -> bool {
        self.state_fails.load(Ordering::Acquire)
    }

    /// The log was closed before.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let handles = std::mem::take(
            &mut *self.handles.lock().expect("no thread panics while it holds this lock"),
        );
        for handle in handles {
            if handle.join().is_err() {
                tracing::error!("a storage thread had panicked");
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Turns the writer's moments into metrics.
fn observe_log(clock: Arc<dyn Clock>) -> Box<dyn Fn(LogEvent) + Send> {
    let sync_began = Cell::new(Duration::ZERO);
    Box::new(move |event| match event {
        LogEvent::WriteBegins { bytes } => {
            metrics::counter!("conclave_log_written_bytes_total").increment(bytes as u64);
        }
        LogEvent::SyncBegins => sync_began.set(clock.monotonic()),
        LogEvent::SyncEnded { .. } => {
            let seconds = clock.monotonic().saturating_sub(sync_began.get()).as_secs_f64();
            metrics::histogram!("conclave_log_fsync_seconds").record(seconds);
        }
        LogEvent::SegmentBegan { .. } | LogEvent::GroupEnded { .. } => {}
    })
}

/// sled is derived state: an error here costs a rebuild at the next start, not data. While space is
/// short nothing is moved: the overlay holds it.
fn flush_until_stopped(state: &State, space: &Space, stopping: &AtomicBool, fails: &AtomicBool) {
    while !stopping.load(Ordering::Acquire) {
        std::thread::sleep(FLUSH_INTERVAL);
        metrics::gauge!("conclave_state_overlay_bytes").set(state.overlay_bytes() as f64);
        while space.has_room_for_state() {
            match state.flush() {
                Ok(more) => {
                    fails.store(false, Ordering::Release);
                    if !more {
                        break;
                    }
                }
                Err(error) => {
                    if !fails.swap(true, Ordering::AcqRel) {
                        tracing::error!(%error, "the state machine cannot be flushed; the overlay grows");
                    }
                    break;
                }
            }
        }
    }
}

/// Reads the state again, a step at a time. Applies wait for a step, so it is small.
///
/// The engine says of some damage only that it cannot read. What it cannot read again and again
/// while it can be written is lost, and requests fail on it all the while.
fn scrub_until_stopped(
    mut step: impl FnMut() -> Result<bool, StateError>,
    bytes_per_s: u64,
    stopping: &AtomicBool,
    fails: &AtomicBool,
    damaged: &Damaged,
) {
    let pause = Duration::from_micros(SCRUB_STEP_BYTES * 1_000_000 / bytes_per_s);
    let mut pause_next = pause.max(SCRUB_PAUSE_MIN);
    let mut failures = 0;
    while pause_unless(stopping, pause_next) {
        pause_next = pause.max(SCRUB_PAUSE_MIN);
        match step() {
            Ok(ended) => {
                failures = 0;
                metrics::counter!("conclave_state_scrub_rounds_total").increment(u64::from(ended));
            }
            Err(error @ StateError::Damaged(_)) => return damaged(error.to_string()),
            Err(error) => {
                failures += 1;
                let writable = !fails.load(Ordering::Acquire);
                if failures >= SCRUB_FAILURES_MAX && writable {
                    return damaged(error.to_string());
                }
                if failures == 1 {
                    tracing::warn!(%error, "the state machine cannot be read by the scrub");
                }
                pause_next = SCRUB_ERROR_PAUSE;
            }
        }
    }
}

/// Sleeps; false once it is time to stop.
fn pause_unless(stopping: &AtomicBool, pause: Duration) -> bool {
    let mut left = pause;
    while !left.is_zero() && !stopping.load(Ordering::Acquire) {
        let nap = left.min(NAP_MAX);
        std::thread::sleep(nap);
        left -= nap;
    }
    !stopping.load(Ordering::Acquire)
}

const FLUSH_INTERVAL: Duration = Duration::from_millis(15);
/// What one step of the scrub reads at most, of the files or in records of 4 KiB.
const SCRUB_STEP_BYTES: u64 = 512 << 10;
const SCRUB_STEP_RECORDS: usize = 128;
const SCRUB_PAUSE_MIN: Duration = Duration::from_millis(5);
/// Steps that fail one after the other.
const SCRUB_FAILURES_MAX: u32 = 3;
const SCRUB_ERROR_PAUSE: Duration = Duration::from_secs(1);
/// A thread that sleeps is told to stop this late at most.
const NAP_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Runs a scrub whose step number `n` ends as `step(n)` says, for at most `steps` of them.
    fn damage_found(steps: u32, fails: bool, step: impl Fn(u32) -> bool) -> Option<String> {
        let (found, stopping) = (Arc::new(Mutex::new(None)), AtomicBool::new(false));
        let note = found.clone();
        let damaged: Damaged = Arc::new(move |what| *note.lock().unwrap() = Some(what));
        let mut number = 0;
        let step = || {
            number += 1;
            stopping.store(number >= steps, Ordering::Release);
            if step(number) { Ok(false) } else { Err(unreadable()) }
        };
        scrub_until_stopped(step, u64::MAX, &stopping, &AtomicBool::new(fails), &damaged);
        found.lock().unwrap().take()
    }

    fn unreadable() -> StateError {
        StateError::Engine(conclave_store::state::EngineError("unreadable".to_owned()))
    }

    #[test]
    fn what_cannot_be_read_again_and_again_is_damage() {
        let found = damage_found(9, false, |number| number < 3);
        assert!(found.is_some_and(|what| what.contains("unreadable")));
    }

    #[test]
    fn one_failure_or_an_engine_that_cannot_be_written_is_none() {
        assert_eq!(damage_found(9, false, |number| number != 3 && number != 4), None);
        assert_eq!(damage_found(5, true, |_| false), None);
    }
}

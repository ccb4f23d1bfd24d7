//! Many seeds, one thread each at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Coverage, Outcome, Plant, Run};

/// Seeds to run.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// A bug to be found.
    pub plant: Option<Plant>,
    /// Whether one failure is enough.
    pub stop_at_failure: bool,
    /// How many seeds run at once.
    pub threads: usize,
}

/// What came of them.
#[derive(Debug, Default)]
pub struct Report {
    /// Seeds that ran.
    pub ran: u64,
    /// What they did in all.
    pub coverage: Coverage,
    /// Virtual time in all, in seconds.
    pub virtual_s: f64,
    /// Those that violated an invariant, by seed.
    pub failures: Vec<Outcome>,
}

impl Campaign {
    /// Runs all seeds, or all up to the first failure; `seen` hears of each as it ends.
    ///
    /// # Panics
    /// Where the operating system gives no thread.
    #[must_use]
    pub fn run(&self, seen: &(dyn Fn(&Outcome) + Sync)) -> Report {
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let report = Mutex::new(Report::default());
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.count {
                    return;
                }
                let seed = self.first + number;
                let outcome = Run { seed, plant: self.plant, keep_lines: false }.run();
                seen(&outcome);
                if outcome.violation.is_some() && self.stop_at_failure {
                    stop.store(true, Ordering::Relaxed);
                }
                report.lock().unwrap_or_else(PoisonError::into_inner).take(outcome);
            }
        };
        std::thread::scope(|scope| {
            for number in 0..self.threads {
                let thread = std::thread::Builder::new().name(format!("seeds {number}"));
                thread.spawn_scoped(scope, work).expect("a thread can be started");
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.failures.sort_by_key(|outcome| outcome.seed);
        report
    }
}

impl Report {
    fn take(&mut self, outcome: Outcome) {
        self.ran += 1;
        self.coverage.add(&outcome.coverage);
        self.virtual_s += outcome.virtual_time.as_secs_f64();
        if outcome.violation.is_some() {
            self.failures.push(outcome);
        }
    }
}

//! Resident memory of the nodes over time.
//!
//! A thread reads `/proc` ten times a second. What counts is anonymous memory: the page cache and
//! the mapped program are the kernel's to take back.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::pace::now;

/// Nodes in a cluster here.
pub(crate) const NODES: usize = 3;

/// One look at one process.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) phase: &'static str,
    pub(crate) node: usize,
    pub(crate) anonymous_kib: u64,
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
}

/// The running thread and what it wrote down.
pub(crate) struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    begun: Instant,
    ended: AtomicBool,
    /// Process ids by node; 0 while it does not run.
    pids: [AtomicU32; NODES],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: &'static str,
    samples: Vec<Sample>,
}

impl Sampler {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            begun: now(),
            ended: AtomicBool::new(false),
            pids: Default::default(),
            state: Mutex::default(),
        });
        let owned = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sampler".into()).spawn(move || {
            while !owned.ended.load(Ordering::Acquire) {
                owned.look();
                std::thread::sleep(INTERVAL);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From here on this is the process of node `node`; 0 for none.
    pub(crate) fn watch(&self, node: usize, pid: u32) {
        self.shared.pids[node].store(pid, Ordering::Release);
    }

    /// Marks what follows. Returns the time of the mark.
    pub(crate) fn phase(&self, name: &'static str) -> Duration {
        println!("  {:>6.1} s  {name}", self.elapsed().as_secs_f64());
        self.shared.state().phase = name;
        self.elapsed()
    }

    /// Since the first sample.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// The anonymous memory of a node from `from` to now, in KiB.
    pub(crate) fn anonymous(&self, node: usize, from: Duration) -> Vec<u64> {
        let state = self.shared.state();
        let samples = state.samples.iter();
        let since = samples.filter(|sample| sample.node == node && sample.at >= from);
        since.map(|sample| sample.anonymous_kib).collect()
    }

    /// Writes every sample as CSV.
    pub(crate) fn write_csv(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = String::from("seconds,phase,node,anonymous_kib,resident_kib,peak_kib\n");
        for sample in &self.shared.state().samples {
            let Sample { at, phase, node, anonymous_kib, resident_kib, peak_kib } = sample;
            let (seconds, node) = (at.as_secs_f64(), node + 1);
            writeln!(
                text,
                "{seconds:.2},{phase},{node},{anonymous_kib},{resident_kib},{peak_kib}"
            )?;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, text)?)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it samples")
    }

    fn look(&self) {
        let at = self.begun.elapsed();
        for (node, pid) in self.pids.iter().enumerate() {
            let pid = pid.load(Ordering::Acquire);
            let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
                continue;
            };
            // A process that is just ending has no memory lines.
            let Some(anonymous_kib) = field(&status, "RssAnon:") else { continue };
            let mut state = self.state();
            let sample = Sample {
                at,
                phase: state.phase,
                node,
                anonymous_kib,
                resident_kib: field(&status, "VmRSS:").unwrap_or(0),
                peak_kib: field(&status, "VmHWM:").unwrap_or(0),
            };
            state.samples.push(sample);
        }
    }
}

/// A line of `/proc/PID/status` in KiB.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

const INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read() {
        let status = "Name:\tx\nVmHWM:\t   60000 kB\nRssAnon:\t   12345 kB\n";
        assert_eq!(field(status, "RssAnon:"), Some(12_345));
        assert_eq!(field(status, "VmRSS:"), None);
    }
}

//! What happened, as a running hash: two runs of one seed are compared by one number.

use std::fmt::{Display, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// FNV-1a, 64 bits (Fowler, Noll, Vo): not for secrets, only for telling runs apart.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Collects events of one run.
pub(crate) struct Trace {
    inner: Mutex<Inner>,
}

struct Inner {
    hash: u64,
    line: String,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Keeps the lines, or only their hash.
    pub(crate) fn new(keep_lines: bool) -> Self {
        let inner = Inner { hash: OFFSET, line: String::new(), lines: keep_lines.then(Vec::new) };
        Self { inner: Mutex::new(inner) }
    }

    /// Adds an event at a time since the run began.
    pub(crate) fn event(&self, at: Duration, text: impl Display) {
        let mut inner = self.lock();
        let mut line = std::mem::take(&mut inner.line);
        line.clear();
        // Writing to a string does not fail.
        let _ = write!(line, "{:>12.6} {text}", at.as_secs_f64());
        for byte in line.as_bytes().iter().chain(b"\n") {
            inner.hash = (inner.hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
        if let Some(lines) = &mut inner.lines {
            lines.push(line.clone());
        }
        inner.line = line;
    }

    /// The hash of all events so far.
    pub(crate) fn hash(&self) -> u64 {
        self.lock().hash
    }

    /// The lines that were kept.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        self.lock().lines.take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_text_both_count() {
        let hash = |events: &[(u64, &str)]| {
            let trace = Trace::new(false);
            events.iter().for_each(|(at, text)| trace.event(Duration::from_micros(*at), text));
            trace.hash()
        };
        assert_eq!(hash(&[(1, "a"), (2, "b")]), hash(&[(1, "a"), (2, "b")]));
        assert_ne!(hash(&[(1, "a"), (2, "b")]), hash(&[(1, "a"), (3, "b")]));
        assert_ne!(hash(&[(1, "a"), (2, "b")]), hash(&[(2, "b"), (1, "a")]));
        assert_ne!(hash(&[(1, "a")]), hash(&[(1, "c")]));
    }
}

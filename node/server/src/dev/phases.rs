//! What the start is busy with, for whoever waits.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;

/// A spinner on a terminal; one plain line a phase, on standard error, elsewhere.
pub struct Phases(Option<ProgressBar>);

impl Phases {
    /// Chooses by standard error, where both go.
    pub fn new() -> Self {
        let spinner = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(spinner) = &spinner {
            spinner.enable_steady_tick(TICK);
        }
        Self(spinner)
    }

    /// Shows that this has begun.
    pub(super) fn begin(&self, phase: &'static str) {
        match &self.0 {
            Some(spinner) => spinner.set_message(phase),
            None => eprintln!("{phase}"),
        }
    }

    /// Takes the spinner away.
    pub fn finish(&self) {
        if let Some(spinner) = &self.0 {
            spinner.finish_and_clear();
        }
    }
}

impl Default for Phases {
    fn default() -> Self {
        Self::new()
    }
}

const TICK: Duration = Duration::from_millis(100);

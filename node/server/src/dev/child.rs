//! One node's process.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use tokio::process::{Child, Command};

use super::layout::NodeLayout;

/// A running node. Its standard input is a pipe that closes with this process, however it ends, and
/// the node ends with it.
pub(super) struct NodeProcess {
    pub(super) layout: NodeLayout,
    child: Child,
    reported: bool,
}

impl NodeProcess {
    pub(super) fn start(layout: NodeLayout) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of conclaved")?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&layout.log)
            .with_context(|| format!("opening {}", layout.log.display()))?;
        let child = Command::new(program)
            .args(["server", "--exit-with-parent", "--config"])
            .arg(&layout.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("a node cannot be started")?;
        Ok(Self { layout, child, reported: false })
    }

    /// Its process id; 0 once it has ended.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Whether it has ended, with its last words: told once.
    pub(super) fn newly_ended(&mut self) -> Option<Ended> {
        if self.reported {
            return None;
        }
        let status = self.child.try_wait().ok().flatten()?;
        self.reported = true;
        Some(Ended { status: status.to_string(), last_words: last_words(&self.layout.log) })
    }

    /// The command that starts it again.
    pub(super) fn restart_command(&self) -> String {
        format!("conclaved server --config {}", self.layout.config.display())
    }

    /// Asks it to end, and makes it after a while.
    pub(super) async fn stop(mut self) {
        drop(self.child.stdin.take());
        if tokio::select! {
            biased;
            _ = self.child.wait() => false,
            () = conclave_ports::Clock::sleep(&crate::system::SystemClock, STOP_MAX) => true,
        } {
            let _ = self.child.kill().await;
        }
    }
}

/// How a node ended.
pub(super) struct Ended {
    /// Its exit code or signal.
    pub(super) status: String,
    /// The end of its log; empty if there is none.
    pub(super) last_words: String,
}

/// The last lines of a log, indented. The log itself may be gone when somebody reads this, for a
/// temporary directory ends with its cluster.
fn last_words(log: &Path) -> String {
    let Ok(text) = read_end(log) else { return String::new() };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines[first..].iter().map(|line| format!("\n  {line}")).collect()
}

fn read_end(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
    let mut text = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// Lines of a log that are shown when its node has ended.
const LAST_LINES: usize = 3;
/// Where they are looked for, from the end of the log.
const LAST_BYTES: u64 = 4_096;
const STOP_MAX: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("node.log");
        assert_eq!(last_words(&log), "", "there is no log yet");
        let long = "x".repeat(10_000);
        std::fs::write(&log, format!("{long}\none\ntwo\n\nthree\nfour\n")).expect("written");
        assert_eq!(last_words(&log), "\n  two\n  three\n  four");
    }
}

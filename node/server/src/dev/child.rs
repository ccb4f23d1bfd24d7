//! One node's process.

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
    pub(super) fn newly_ended(&mut self) -> Option<String> {
        if self.reported {
            return None;
        }
        let status = self.child.try_wait().ok().flatten()?;
        self.reported = true;
        Some(status.to_string())
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

const STOP_MAX: std::time::Duration = std::time::Duration::from_secs(10);

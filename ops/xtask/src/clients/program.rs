//! One program while it runs, and what it said.
//!
//! It says `client NAME VERSION` once, then a line a check: `ok CHECK` or `failed CHECK: WHY`. A line
//! `kill ADDRESS` asks for a node to be killed; the answer is `killed` on its standard input.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, bail};

use super::Cluster;
use crate::step;

/// What a program said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Name and version of the client library.
    client: String,
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
    /// Whether it ended well.
    ended: bool,
}

/// Runs a program against a cluster, for a bounded time.
///
/// # Errors
/// It cannot be started, does not end, or asks for something else.
pub(super) fn run(mut command: Command, cluster: &Cluster) -> anyhow::Result<Report> {
    // A person's own settings for their own cluster mean nothing here.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["VAULT_", "BAO_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let mut child = command
        .env("VAULT_CACERT", &cluster.ca_file)
        .env("VAULT_TOKEN", &cluster.root_token)
        .env("CLIENT_NODES", cluster.addresses())
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} cannot be started"))?;
    let report = follow(&mut child, cluster);
    if report.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    let mut report = report?;
    report.ended = status.success();
    Ok(report)
}

fn follow(child: &mut Child, cluster: &Cluster) -> anyhow::Result<Report> {
    let lines = lines(child.stdout.take().context("its output was piped")?)?;
    let mut input = child.stdin.take().context("its input was piped")?;
    let deadline = step::now() + RUN_MAX;
    let mut report = Report::default();
    loop {
        let left = deadline.saturating_duration_since(step::now());
        let line = match lines.recv_timeout(left) {
            Ok(line) => line?,
            Err(_) if left.is_zero() || step::now() >= deadline => {
                bail!("the client did not end within {} s", RUN_MAX.as_secs())
            }
            // It has closed its output: it has ended, or does so now.
            Err(_) => return Ok(report),
        };
        match line.strip_prefix("kill ") {
            Some(address) => {
                cluster.kill(address)?;
                writeln!(input, "killed").context("the client waits for no answer")?;
            }
            None => report.note(&line),
        }
    }
}

/// Its lines, read by a thread of their own so that waiting for one can be bounded.
fn lines(output: ChildStdout) -> anyhow::Result<Receiver<std::io::Result<String>>> {
    let (sender, receiver) = channel();
    let read = move || {
        for line in BufReader::new(output).lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("client output".into()).spawn(read)?;
    Ok(receiver)
}

impl Report {
    fn note(&mut self, line: &str) {
        println!("   {line}");
        if let Some(client) = line.strip_prefix("client ") {
            self.client = client.to_owned();
        } else if let Some(check) = line.strip_prefix("ok ") {
            self.passed.insert(check.to_owned());
        } else if let Some((check, _)) =
            line.strip_prefix("failed ").and_then(|l| l.split_once(':'))
        {
            self.failed.insert(check.to_owned());
        }
    }

    /// # Errors
    /// It did not pass each check of this list, or ended badly.
    pub(super) fn ensure_good(&self, checks: &str) -> anyhow::Result<()> {
        let missing: Vec<_> = names(checks).filter(|name| !self.passed.contains(*name)).collect();
        anyhow::ensure!(
            missing.is_empty() && self.failed.is_empty() && self.ended,
            "{} did not pass: {}",
            if self.client.is_empty() { "the client" } else { &self.client },
            if missing.is_empty() { "it ended badly".to_owned() } else { missing.join(", ") }
        );
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, passed, failed, .. } = self;
        write!(f, "   {client}: {} checks passed, {} failed", passed.len(), failed.len())
    }
}

/// The names of a list: the first word of each line; `#` begins a comment.
fn names(list: &str) -> impl Iterator<Item = &str> {
    let lines = list.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|name| !name.is_empty())
}

/// A run takes ten seconds, and a minute beside a busy machine.
const RUN_MAX: Duration = Duration::from_secs(400);

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKS: &str = "# all\nlogin # by name\nkv1\n";

    fn report(lines: &[&str]) -> Report {
        let mut report = Report { ended: true, ..Report::default() };
        lines.iter().for_each(|line| report.note(line));
        report
    }

    #[test]
    fn every_check_must_pass() {
        let whole = report(&["client some 1.2", "ok login", "ok kv1", "a word of its own"]);
        assert_eq!(whole.to_string(), "   some 1.2: 2 checks passed, 0 failed");
        whole.ensure_good(CHECKS).expect("good");
        let words = |report: Report| report.ensure_good(CHECKS).expect_err("bad").to_string();
        assert_eq!(words(report(&["client some 1.2", "ok login"])), "some 1.2 did not pass: kv1");
        let failed = report(&["client some 1.2", "ok login", "failed kv1: why: not"]);
        assert_eq!(words(failed), "some 1.2 did not pass: kv1");
        let twice = report(&["ok login", "ok kv1", "failed kv1: the second time"]);
        assert!(twice.ensure_good(CHECKS).is_err());
        assert!(Report { ended: false, ..whole }.ensure_good(CHECKS).is_err());
        assert!(words(Report::default()).contains("login, kv1"));
    }
}

//! The process that keeps fresh clusters ready, `ops/conformance/pool.py`.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use super::Run;
use crate::step;

/// It runs. It holds a pipe from this process and ends, with every node, when that closes.
pub(super) struct Pool {
    /// Where a suite's server program asks for a cluster.
    pub(super) socket: PathBuf,
    process: Child,
    words: BufReader<ChildStdout>,
}

impl Pool {
    /// Starts it in the run's folder; what an earlier run left there is removed.
    ///
    /// # Errors
    /// There is no Python, or `conclaved` is not built.
    pub(super) fn start(run: &Run) -> anyhow::Result<Self> {
        let conclaved = run.programs.join("conclaved");
        anyhow::ensure!(conclaved.exists(), "{} is not built", conclaved.display());
        let socket = run.folder.join("pool.sock");
        let _ = std::fs::remove_file(&socket);
        for left in ["clusters", "logs"] {
            let _ = std::fs::remove_dir_all(run.folder.join(left));
        }
        let mut process = Command::new("python3")
            .arg(step::root().join("ops/conformance/pool.py"))
            .args([&conclaved, &run.folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("python3 cannot be started; install it")?;
        let mut words = BufReader::new(process.stdout.take().expect("it was piped"));
        let mut line = String::new();
        words.read_line(&mut line).context("the pool of clusters")?;
        anyhow::ensure!(line.trim() == "ready", "the pool of clusters did not start");
        Ok(Self { socket, process, words })
    }

    /// Ends every cluster; answers with what the fronts counted.
    ///
    /// # Errors
    /// It has ended before.
    pub(super) fn end(mut self) -> anyhow::Result<Tally> {
        drop(self.process.stdin.take());
        let mut text = String::new();
        self.words.read_to_string(&mut text).context("the pool's last words")?;
        self.process.wait().context("the pool of clusters")?;
        Tally::parse(&text).context("the pool of clusters ended early")
    }
}

/// How many requests went where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tally {
    clusters: u64,
    /// To the first node or the leader, because they are about it.
    fixed: u64,
    /// To a node by chance.
    free: u64,
    /// Of those, to one that did not lead.
    followers: u64,
}

impl Tally {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let count = |key: &str| value[key].as_u64().context(key.to_owned());
        Ok(Self {
            clusters: count("clusters")?,
            fixed: count("fixed")?,
            free: count("free")?,
            followers: count("followers")?,
        })
    }

    /// # Errors
    /// Less than a third of what could go anywhere went to followers. In a part of a suite with
    /// very few requests chance alone may do that, which is no error.
    pub(super) fn ensure_followers(&self, whole: bool) -> anyhow::Result<()> {
        let judged = whole || self.free >= JUDGED_MIN;
        let enough = self.free > 0 && self.followers * 3 >= self.free;
        anyhow::ensure!(
            enough || !judged,
            "void: of {} requests only {} went to followers, less than a third",
            self.free,
            self.followers
        );
        Ok(())
    }
}

/// With this many, two thirds of which are expected at followers, less than one third is no chance.
const JUDGED_MIN: u64 = 40;

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clusters, fixed, free, followers } = self;
        write!(
            f,
            "\n{clusters} clusters; {fixed} requests to a given node, {free} to a random one, \
             {followers} of these to followers"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_followers_is_void() {
        let tally = |free, followers| Tally { clusters: 1, fixed: 9, free, followers };
        assert!(tally(99, 33).ensure_followers(true).is_ok());
        assert!(tally(99, 32).ensure_followers(true).is_err());
        assert!(tally(99, 32).ensure_followers(false).is_err());
        assert!(tally(5, 1).ensure_followers(false).is_ok(), "by chance");
        assert!(tally(0, 0).ensure_followers(true).is_err(), "nothing was proven");
        let text = r#"{"clusters": 1, "fixed": 9, "free": 99, "followers": 33}"#;
        assert_eq!(Tally::parse(text).expect("last words"), tally(99, 33));
        assert!(Tally::parse("").is_err());
    }
}

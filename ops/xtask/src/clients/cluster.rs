//! The cluster that a client is tried on: `conclaved dev`, three nodes with TLS.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::step;

/// It runs; dropping it ends every node and leaves its data and logs.
pub(super) struct Cluster {
    folder: PathBuf,
    pub(super) ca_file: String,
    pub(super) root_token: String,
    nodes: Vec<Node>,
    supervisor: Child,
}

struct Node {
    address: String,
    pid: Pid,
}

impl Cluster {
    /// Starts it with its data and its logs below `folder`; what an earlier run left is removed.
    ///
    /// # Errors
    /// `conclaved` is not built, or the cluster does not come up.
    pub(super) fn start(conclaved: &Path, folder: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(conclaved.exists(), "{} is not built", conclaved.display());
        let folder = folder.join("cluster");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let (log, ready) = (folder.join("dev.log"), folder.join("ready.json"));
        let words = File::create(&log).context("dev.log")?;
        let mut supervisor = Command::new(conclaved)
            .args(["dev", "--listen-base-port", &free_ports()?.to_string(), "--data-dir"])
            .arg(folder.join("data"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(words.try_clone()?)
            .stderr(words)
            .spawn()
            .context("conclaved cannot be started")?;
        let started =
            step::until(START_MAX, || ready.exists() || !matches!(supervisor.try_wait(), Ok(None)));
        let text = started.and_then(|()| std::fs::read_to_string(&ready).map_err(Into::into));
        let cluster = text.and_then(|text| parse(&text));
        match cluster {
            Ok((ca_file, root_token, nodes)) => {
                Ok(Self { folder, ca_file, root_token, nodes, supervisor })
            }
            Err(error) => {
                end(&mut supervisor);
                Err(error).with_context(|| format!("no cluster; {} says why", log.display()))
            }
        }
    }

    /// Ends it and removes what it left, which nobody needs where all went well.
    ///
    /// # Errors
    /// Its files cannot be removed.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        let folder = self.folder.clone();
        drop(self);
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())
    }

    /// Where its nodes answer.
    pub(super) fn addresses(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.address.as_str()).collect();
        addresses.join(",")
    }

    /// Kills a node without warning, and waits until it is dead.
    ///
    /// # Errors
    /// There is no such node, or it runs no more.
    pub(super) fn kill(&self, address: &str) -> anyhow::Result<()> {
        let node = self.nodes.iter().find(|node| node.address == address);
        let node = node.with_context(|| format!("no node answers at {address}"))?;
        kill_process(node.pid, Signal::KILL).context("the node runs no more")?;
        step::until(END_MAX, || test_kill_process(node.pid).is_err())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&mut self.supervisor);
    }
}

type Parts = (String, String, Vec<Node>);

/// Reads what `conclaved dev --ready-file` wrote.
fn parse(text: &str) -> anyhow::Result<Parts> {
    let ready: Value = serde_json::from_str(text)?;
    let word = |value: &Value| value.as_str().map(str::to_owned).context("the ready file");
    let nodes = ready["nodes"].as_array().context("the ready file names no nodes")?;
    let nodes = nodes.iter().map(|node| {
        let pid = node["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).context("the ready file names no process")?;
        Ok(Node { address: word(&node["api_addr"])?, pid })
    });
    let nodes = nodes.collect::<anyhow::Result<_>>()?;
    Ok((word(&ready["ca_file"])?, word(&ready["root_token"])?, nodes))
}

/// Ends every node in good order, or else at once: they end with their supervisor.
fn end(supervisor: &mut Child) {
    let pid = i32::try_from(supervisor.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    if step::until(END_MAX, || !matches!(supervisor.try_wait(), Ok(None))).is_err() {
        let _ = supervisor.kill();
        let _ = supervisor.wait();
    }
}

/// The first of as many consecutive ports as three nodes take; below those that systems give to
/// outgoing connections, and away from the fault tests' and the suites' ranges.
fn free_ports() -> anyhow::Result<u16> {
    let begin = u16::try_from(std::process::id().wrapping_mul(APART) % u32::from(RANGE))?;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let firsts = (0..RANGE).step_by(COUNT).map(|step| FIRST + (begin + step) % RANGE);
    firsts
        .map(|first| first..first + COUNT as u16)
        .find(|ports| ports.clone().all(is_free))
        .map(|ports| ports.start)
        .with_context(|| format!("no {COUNT} free ports in a row from {FIRST} on"))
}

const START_MAX: Duration = Duration::from_secs(90);
const END_MAX: Duration = Duration::from_secs(30);
const FIRST: u16 = 10_000;
const RANGE: u16 = 1_900;
const APART: u32 = 61;
/// Two for each of three nodes.
const COUNT: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_file_is_read() {
        let text = r#"{"ca_file": "/ca.pem", "root_token": "r", "nodes": [
            {"id": 1, "pid": 7, "api_addr": "https://127.0.0.1:1"}]}"#;
        let (ca_file, root_token, nodes) = parse(text).expect("a ready file");
        assert_eq!((ca_file.as_str(), root_token.as_str()), ("/ca.pem", "r"));
        assert_eq!(nodes[0].address, "https://127.0.0.1:1");
        assert!(parse(r#"{"ca_file": "", "root_token": "", "nodes": [{"pid": 0}]}"#).is_err());
    }
}

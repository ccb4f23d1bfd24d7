//! Where one row runs once. What a cell makes has the cell's name in it, so that cells neither see
//! nor disturb each other, whatever runs beside them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::door::{Caller, Door, Reply};
use crate::pace;

/// What all cells share.
pub(crate) struct Site {
    pub(crate) root_token: String,
    /// Of the holders of shares.
    pub(crate) shares: Vec<String>,
    /// With everything of every node.
    pub(crate) directory: PathBuf,
    /// What stands in environment, configuration and key files and must stand nowhere else.
    pub(crate) secrets: Vec<String>,
}

/// One row at one place.
pub(crate) struct Cell {
    /// Letters and digits: names of mounts, users and policies begin with it.
    pub(crate) name: String,
    /// The node that the row is about.
    pub(crate) node: Door,
    /// All that run, this node first.
    pub(crate) nodes: Vec<Door>,
    pub(crate) site: Arc<Site>,
}

impl Cell {
    /// The holder of the root token.
    pub(crate) fn root(&self) -> Caller {
        self.node.caller(&self.site.root_token)
    }

    /// Somebody without a token.
    pub(crate) fn nobody(&self) -> Caller {
        self.node.nobody()
    }

    /// The nodes that may be asked for the same thing, one after the other and over again.
    pub(crate) fn turn(&self, number: usize) -> &Door {
        &self.nodes[number % self.nodes.len()]
    }

    /// A name of this cell.
    pub(crate) fn named(&self, what: &str) -> String {
        format!("{}{what}", self.name)
    }

    /// A text that nobody else writes anywhere.
    pub(crate) fn canary(&self, what: &str) -> String {
        // The last letter keeps one from being the beginning of another.
        format!("kanarienvogel{}{what}z", self.name)
    }

    /// A fresh mount of KV with versions; its path.
    pub(crate) async fn kv(&self) -> anyhow::Result<String> {
        self.mount_kv("kv").await
    }

    pub(crate) async fn mount_kv(&self, what: &str) -> anyhow::Result<String> {
        let mount = self.named(what);
        let body = json!({"type": "kv", "options": {"version": "2"}});
        self.arrange(&format!("sys/mounts/{mount}"), &body).await?;
        Ok(mount)
    }

    /// Writes a secret as root.
    pub(crate) async fn put(&self, path: &str, data: Value) -> anyhow::Result<()> {
        self.arrange(path, &json!({ "data": data })).await?;
        Ok(())
    }

    /// Writes as root what a row needs. Other cells change policies and mounts meanwhile, so a node
    /// may say that it lost too many races; that is tried again.
    pub(crate) async fn arrange(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        for _ in 0..RACES_MAX {
            let reply = self.root().post(path, body).await?;
            if reply.status != 429 {
                return reply.done(path);
            }
            pace::pause(RACE_PAUSE).await;
        }
        anyhow::bail!("{path}: other requests always came first")
    }

    /// A fresh userpass mount; its path below `auth/`.
    pub(crate) async fn userpass(&self) -> anyhow::Result<String> {
        let mount = self.named("up");
        let (path, body) = (format!("sys/auth/{mount}"), json!({"type": "userpass"}));
        self.arrange(&path, &body).await?;
        Ok(mount)
    }

    /// A user there.
    pub(crate) async fn user(&self, mount: &str, name: &str, body: Value) -> anyhow::Result<()> {
        self.arrange(&format!("auth/{mount}/users/{name}"), &body).await?;
        Ok(())
    }

    /// A policy with this text; its name.
    pub(crate) async fn policy(&self, what: &str, text: &str) -> anyhow::Result<String> {
        let name = self.named(what);
        let path = format!("sys/policies/acl/{name}");
        self.arrange(&path, &json!({ "policy": text })).await?;
        Ok(name)
    }

    /// Somebody with the rights of this text alone.
    pub(crate) async fn with_policy(&self, what: &str, text: &str) -> anyhow::Result<Caller> {
        let policy = self.policy(what, text).await?;
        self.token(json!({"policies": [policy], "no_default_policy": true})).await
    }

    /// Somebody with a token that root makes of this.
    pub(crate) async fn token(&self, body: Value) -> anyhow::Result<Caller> {
        let made = self.arrange("auth/token/create", &body).await?;
        Ok(self.node.caller(&made.text("/auth/client_token")?))
    }

    /// Logs in over a node.
    pub(crate) async fn log_in(
        &self,
        door: &Door,
        mount: &str,
        user: &str,
        body: &Value,
    ) -> anyhow::Result<Reply> {
        door.nobody().post(&format!("auth/{mount}/login/{user}"), body).await
    }

    /// Demands that a token is refused by every node.
    pub(crate) async fn is_dead(&self, token: &str, what: &str) -> anyhow::Result<()> {
        for door in &self.nodes {
            let used = door.caller(token).get("auth/token/lookup-self").await?;
            used.is(&[403], &format!("{what}, at node {}", door.node.id))?;
        }
        Ok(())
    }

    /// What every node wrote to its audit log whose values are hashed, one text a node.
    pub(crate) fn audit_logs(&self) -> anyhow::Result<Vec<String>> {
        self.logs(HASHED_LOG)
    }

    /// The same of the device that hides nothing.
    pub(crate) fn raw_audit_logs(&self) -> anyhow::Result<Vec<String>> {
        self.logs(RAW_LOG)
    }

    fn logs(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let read = |door: &Door| {
            let file = door.node.config.with_file_name(name);
            let bytes = std::fs::read(&file).with_context(|| format!("{}", file.display()))?;
            anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        self.nodes.iter().map(read).collect()
    }

    /// What the nodes' processes said, in files below the cluster's directory.
    pub(crate) fn process_logs(&self) -> anyhow::Result<Vec<(PathBuf, String)>> {
        let mut logs = Vec::new();
        let mut folders = vec![self.site.directory.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                let skips = path.is_symlink() || path.ends_with("data");
                if path.is_dir() && !skips {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "log")
                    && path.file_name().is_some_and(|name| name != RAW_LOG)
                {
                    let bytes = std::fs::read(&path)?;
                    logs.push((path, String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
        ensure!(logs.len() >= self.nodes.len(), "the nodes' logs are not where they were");
        Ok(logs)
    }

    /// Demands that a text stands in no log but the one that hides nothing.
    pub(crate) fn is_in_no_log(&self, canary: &str) -> anyhow::Result<()> {
        for (path, text) in self.process_logs()? {
            let Some(at) = text.find(canary) else { continue };
            let before: String = text[..at].chars().rev().take(SHOWN_MAX).collect();
            let before: String = before.chars().rev().collect();
            anyhow::bail!("{canary} stands in {}, behind {before:?}", path.display());
        }
        Ok(())
    }

    /// Waits until the hashed logs hold this often a text that is to be found, so that looking for
    /// another one in them means something.
    pub(crate) async fn is_audited(&self, text: &str) -> anyhow::Result<()> {
        let found =
            async || self.audit_logs().is_ok_and(|logs| logs.iter().any(|log| log.contains(text)));
        pace::until(LOGGED_MAX, &format!("an audit record with {text}"), found).await
    }
}

/// What is shown of what stands before a text that must not be there.
const SHOWN_MAX: usize = 120;
/// Beside each node's configuration.
pub(crate) const HASHED_LOG: &str = "audit-hashed.log";
/// Of a device with `danger_log_raw`.
pub(crate) const RAW_LOG: &str = "audit-raw.log";
/// Where an API may enable devices.
pub(crate) const API_LOGS: &str = "api-logs";
const RACES_MAX: u32 = 20;
const RACE_PAUSE: Duration = Duration::from_millis(100);
const LOGGED_MAX: Duration = Duration::from_secs(5);

//! The ready document, and what a person sees.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::files::write_private;

/// What a script needs to use the cluster: the content of `--ready-file`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ready {
    /// Of conclaved.
    pub version: String,
    /// PEM of the CA that signed the public listeners; none where they are without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The first token.
    pub root_token: String,
    /// Hex.
    pub unseal_keys: Vec<String>,
    /// When the file was written.
    pub leader_id: u64,
    /// In the order of their names.
    pub nodes: Vec<ReadyNode>,
}

/// One node of a [`Ready`] document.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadyNode {
    /// Its Raft id.
    pub id: u64,
    /// That of its folder and in its log. Documents of earlier versions have none.
    #[serde(default)]
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// URL of its public listener.
    pub api_addr: String,
    /// `host:port` of its peer listener.
    pub cluster_addr: String,
    /// Its data.
    pub data_dir: PathBuf,
    /// Starts it again with `conclaved server --config`.
    pub config: PathBuf,
}

impl Ready {
    /// Writes the document, whole or not at all, mode 0600.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_private(path, serde_json::to_string_pretty(self)?.as_bytes())
    }

    /// Reads what an earlier start wrote.
    ///
    /// # Errors
    /// The file exists but is not such a document.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(path)?;
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} is not a ready document", path.display()))
    }

    /// Prints what a person needs, ending with lines to paste into a shell.
    pub fn print(&self) {
        println!("\nConclave is ready: {} node(s).\n", self.nodes.len());
        for node in &self.nodes {
            let leads = if node.id == self.leader_id { "  leader" } else { "" };
            println!(
                "  {} (id {})  {}  peers {}  pid {}{leads}",
                node.name, node.id, node.api_addr, node.cluster_addr, node.pid
            );
        }
        println!();
        match &self.ca_file {
            Some(file) => println!("CA file:    {}", file.display()),
            None => println!("CA file:    none, the nodes are without TLS: on this machine only"),
        }
        for (i, key) in self.unseal_keys.iter().enumerate() {
            println!("Unseal Key {}: {key}", i + 1);
        }
        println!("Root Token: {}", self.root_token);
        println!("\nPaste into a shell:\n");
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.api_addr.as_str()).collect();
        println!("  export CONCLAVE_ADDR={}", addresses.join(","));
        if let Some(file) = &self.ca_file {
            println!("  export CONCLAVE_CACERT={}", file.display());
        }
        println!("  export CONCLAVE_TOKEN={}", self.root_token);
        println!("  conclave status\n");
        println!("For Vault's own tools:\n");
        let ca = self.ca_file.as_ref().map(|file| format!(" VAULT_CACERT={}", file.display()));
        println!(
            "  export VAULT_ADDR={}{} VAULT_TOKEN={}",
            addresses[0],
            ca.unwrap_or_default(),
            self.root_token
        );
        println!("\nCtrl-C ends all of it.");
    }
}

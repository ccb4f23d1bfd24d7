//! A real node for tests of the whole program: one process, the static seal, TLS.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use conclave_sdk::{Client, Config, NodeStatus, Operation};
use conclave_server::tls::{make_dev_ca, sign_dev_server};
use serde_json::{Value, json};

/// A node on `data` and `seal.key` below a directory; dropped, it is killed.
pub(crate) struct Node {
    process: Child,
    /// `host:port` of the public listener.
    pub(crate) address: String,
    /// Who signed its certificate.
    pub(crate) ca_pem: String,
}

impl Node {
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) fn start(base: &Path) -> anyhow::Result<Self> {
        Self::start_with(base, &json!({}))
    }

    /// A node with further keys in its configuration.
    pub(crate) fn start_with(base: &Path, extra: &Value) -> anyhow::Result<Self> {
        let (api, cluster) = (free_address()?, free_address()?);
        let ca = make_dev_ca()?;
        let public = sign_dev_server(&ca, &["127.0.0.1".to_owned()])?;
        std::fs::write(base.join("public.crt"), &public.certificate_pem)?;
        std::fs::write(base.join("public.key"), public.key_pem.as_bytes())?;
        let mut config = json!({
            "api_addr": format!("https://{api}"),
            "cluster_addr": cluster,
            "listener": {"tcp": {
                "address": api, "cluster_address": cluster,
                "tls_cert_file": "public.crt", "tls_key_file": "public.key",
            }},
            "storage": {"raft": {"path": "data", "node_id": "node-1"}},
            "seal": {"static": {"key_file": "seal.key"}},
        });
        if let (Some(config), Some(extra)) = (config.as_object_mut(), extra.as_object()) {
            config.extend(extra.clone());
        }
        let file = base.join("config.json");
        std::fs::write(&file, config.to_string())?;
        let process = Command::new(env!("CARGO_BIN_EXE_conclaved"))
            .args(["server", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("conclaved cannot be started")?;
        Ok(Self { process, address: api, ca_pem: ca.certificate_pem.clone() })
    }

    /// A node of a new cluster, and its root token.
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) async fn found(base: &Path) -> anyhow::Result<(Self, String)> {
        Self::found_with(base, &json!({})).await
    }

    /// The same with further keys in its configuration.
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) async fn found_with(base: &Path, extra: &Value) -> anyhow::Result<(Self, String)> {
        std::fs::write(base.join("seal.key"), "07".repeat(32))?;
        let node = Self::start_with(base, extra)?;
        let client = Client::connect(node.config()).await?;
        let operator = client.operator();
        node.wait_until(&client, |_| true).await?;
        let made = operator.init(&node.url(), 0, 0).await?;
        Ok((node, made.root_token))
    }

    /// A key-value store with versions where tests write.
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) async fn mount_secret(client: &Client) -> anyhow::Result<()> {
        let kv = json!({"type": "kv", "options": {"version": "2"}});
        client.logical().call(Operation::Write, "sys/mounts/secret", Some(&kv)).await?;
        Ok(())
    }

    /// Lets the node read its files anew.
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) fn hang_up(&self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status()?;
        anyhow::ensure!(told.success(), "the node was not told");
        Ok(())
    }

    /// Lets the node end in good order.
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        anyhow::ensure!(told.success(), "the node was not told");
        anyhow::ensure!(self.process.wait()?.success(), "the node ended with a failure");
        Ok(())
    }

    /// Waits until the node serves.
    pub(crate) async fn client(&self, token: &str) -> anyhow::Result<Client> {
        let client = Client::connect(self.config().with_token(token)).await?;
        self.wait_until(&client, |status| !status.sealed && status.leader_id != 0).await?;
        Ok(client)
    }

    fn config(&self) -> Config {
        let mut config = Config::new([self.url()]).with_ca_pem(self.ca_pem.clone());
        // The membership may name the address that the node had when its directory was made.
        config.discover = false;
        config
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    async fn wait_until(
        &self,
        client: &Client,
        enough: impl Fn(&NodeStatus) -> bool,
    ) -> anyhow::Result<()> {
        let mut last = None;
        for _ in 0..POLLS_MAX {
            match client.operator().status(Some(&self.url())).await {
                Ok(status) if enough(&status) => return Ok(()),
                other => last = Some(other),
            }
            conclave_server::system::ports().clock.sleep(POLL).await;
        }
        anyhow::bail!("the node does not serve: {last:?}")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

const POLL: Duration = Duration::from_millis(100);
const POLLS_MAX: u32 = 600;

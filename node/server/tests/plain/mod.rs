//! A real node without TLS towards clients, and one HTTP request to it: for tests of what stands in
//! heads, bodies and logs.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Dropped, it is killed.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// Of the public listener.
    pub(crate) api: String,
    /// Of the peer listener.
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) cluster: String,
    /// Where all that it writes is.
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) folder: PathBuf,
}

impl Process {
    /// A node called `name` in a directory of that name, with further keys in its configuration and
    /// further variables. Its words go to `node.log` there.
    pub(crate) fn start(
        base: &Path,
        name: &str,
        extra: &Value,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let (api, cluster) = (free_address()?, free_address()?);
        let folder = base.join(name);
        std::fs::create_dir_all(&folder)?;
        let mut config = json!({
            "listener": {"tcp": {"address": api, "cluster_address": cluster, "tls_disable": true}},
            "storage": {"raft": {"path": "data", "node_id": name}},
        });
        if let (Some(config), Some(extra)) = (config.as_object_mut(), extra.as_object()) {
            config.extend(extra.clone());
        }
        let file = folder.join("config.json");
        std::fs::write(&file, config.to_string())?;
        // A file that may not grow beyond a limit is an error to the node, not its end.
        let child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" server --config \"$1\""])
            .arg(env!("CARGO_BIN_EXE_conclaved"))
            .arg(&file)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("node.log"))?)
            .spawn()
            .context("conclaved cannot be started")?;
        Ok(Self { child, api, cluster, folder })
    }

    /// One request with these lines in its head: the status, and what was answered.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<(u16, String)> {
        let exchange = async {
            let mut stream = TcpStream::connect(&self.api).await?;
            let (address, length) = (&self.api, body.len());
            let text = format!(
                "{method} /v1/{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
                 content-length: {length}\r\n{headers}\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let ports = conclave_server::system::ports();
        let answer =
            ports.within(ANSWER_MAX, exchange).await.ok().context("no answer in time")??;
        let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// Waits until an answer of `path` is enough.
    pub(crate) async fn wait(
        &self,
        path: &str,
        enough: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let mut last = String::new();
        for _ in 0..POLLS_MAX {
            match self.ask("GET", path, "", "").await {
                Ok((_, answer)) => match serde_json::from_str(&answer) {
                    Ok(value) if enough(&value) => return Ok(value),
                    _ => last = answer,
                },
                Err(error) => last = error.to_string(),
            }
            pause().await;
        }
        bail!("{} does not come to it: {last}", self.api)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between two looks.
pub(crate) async fn pause() {
    conclave_server::system::ports().clock.sleep(POLL).await;
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

const POLL: Duration = Duration::from_millis(100);
const POLLS_MAX: u32 = 600;
const ANSWER_MAX: Duration = Duration::from_secs(30);

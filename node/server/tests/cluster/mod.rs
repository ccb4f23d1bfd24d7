//! A real cluster of three nodes, and one HTTP request to one of them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_server::dev::Ready;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// `conclaved dev`; dropped, it ends its nodes.
pub(crate) struct Cluster {
    process: Child,
    pub(crate) ready: Ready,
}

/// What a caller can tell answers apart by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without the date.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Cluster {
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let file = directory.join("ready-file.json");
        let process = Command::new(env!("CARGO_BIN_EXE_conclaved"))
            .arg("dev")
            .arg("--data-dir")
            .arg(directory.join("nodes"))
            .arg("--ready-file")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut started = Started(Some(process));
        for _ in 0..POLLS_MAX {
            if let Some(ready) = Ready::read(&file)? {
                let process = started.0.take().context("taken once")?;
                return Ok(Self { process, ready });
            }
            pause().await;
        }
        anyhow::bail!("the cluster did not come up")
    }

    /// The place of the leader among the nodes.
    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) fn leader(&self) -> anyhow::Result<usize> {
        let mut nodes = self.ready.nodes.iter();
        nodes.position(|node| node.id == self.ready.leader_id).context("there is a leader")
    }

    #[allow(dead_code, reason = "each test file is a program of its own")]
    pub(crate) fn kill(&self, node: usize) -> anyhow::Result<()> {
        let pid = self.ready.nodes[node].pid.to_string();
        ensure!(Command::new("kill").args(["-9", &pid]).status()?.success());
        Ok(())
    }

    pub(crate) async fn as_root(
        &self,
        node: usize,
        line: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let token = format!("x-vault-token: {}\r\n", self.ready.root_token);
        self.ask(node, line, &token, body).await
    }

    pub(crate) async fn ask(
        &self,
        node: usize,
        line: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(
            self.ready.ca_file.as_ref().context("no authority")?,
        )?)?;
        let config = rustls::ClientConfig::builder_with_provider(conclave_server::tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = self.ready.nodes[node].api_addr.trim_start_matches("https://");
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("127.0.0.1")?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: c\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Answer::parse(&String::from_utf8(answer)?)
    }
}

impl Answer {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
        let headers = lines.filter(|line| !line.starts_with("date:")).map(str::to_owned).collect();
        Ok(Self { status: status.parse()?, headers, body: body.to_owned() })
    }
}

/// Ends a process whose cluster never came up.
struct Started(Option<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            stop(process);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// Politely, so that it ends its nodes as well.
fn stop(process: &mut Child) {
    // It may have ended by itself; either way it is gone afterwards.
    let _ = Command::new("kill").arg(process.id().to_string()).status();
    let _ = process.wait();
}

/// Between two looks.
pub(crate) async fn pause() {
    conclave_server::system::ports().clock.sleep(POLL).await;
}

const POLL: Duration = Duration::from_millis(100);
/// How often to look before giving up.
pub(crate) const POLLS_MAX: u32 = 900;

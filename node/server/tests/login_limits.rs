//! Lock-out and rate quotas on a real cluster of three nodes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_server::dev::Ready;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// `conclaved dev`; dropped, it ends its nodes.
struct Cluster {
    process: Child,
    ready: Ready,
}

/// What a caller can tell answers apart by.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Without the date.
    headers: Vec<String>,
    body: String,
}

impl Cluster {
    async fn start(directory: &Path) -> anyhow::Result<Self> {
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
    fn leader(&self) -> anyhow::Result<usize> {
        let mut nodes = self.ready.nodes.iter();
        nodes.position(|node| node.id == self.ready.leader_id).context("there is a leader")
    }

    fn kill(&self, node: usize) -> anyhow::Result<()> {
        let pid = self.ready.nodes[node].pid.to_string();
        ensure!(Command::new("kill").args(["-9", &pid]).status()?.success());
        Ok(())
    }

    async fn as_root(&self, node: usize, line: &str, body: &str) -> anyhow::Result<Answer> {
        let token = format!("x-vault-token: {}\r\n", self.ready.root_token);
        self.ask(node, line, &token, body).await
    }

    /// A login, repeated while the cluster has no leader.
    async fn log_in(&self, node: usize, name: &str, password: &str) -> anyhow::Result<Answer> {
        let line = format!("POST /v1/auth/userpass/login/{name}");
        let body = json!({ "password": password }).to_string();
        for _ in 0..POLLS_MAX {
            let answer = self.ask(node, &line, "", &body).await?;
            if answer.status < 500 {
                return Ok(answer);
            }
            pause().await;
        }
        anyhow::bail!("no leader was found")
    }

    async fn ask(
        &self,
        node: usize,
        line: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ready.ca_file)?)?;
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

async fn pause() {
    conclave_server::system::ports().clock.sleep(POLL).await;
}

const POLL: Duration = Duration::from_millis(100);
const POLLS_MAX: u32 = 900;

/// THREATS rows 18, 20, 21 and 50, at leader and followers and after a failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_018_limits_hold_on_every_node_and_after_a_failover() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = Cluster::start(directory.path()).await?;
    let enabled =
        cluster.as_root(0, "POST /v1/sys/auth/userpass", r#"{"type":"userpass"}"#).await?;
    ensure!(enabled.status == 204, "{enabled:?}");
    for name in ["anna", "bob", "carl"] {
        let line = format!("POST /v1/auth/userpass/users/{name}");
        let made = cluster.as_root(1, &line, r#"{"password":"right"}"#).await?;
        ensure!(made.status == 204, "{made:?}");
    }
    quotas_count_per_node(&cluster).await?;
    names_that_exist_answer_like_others(&cluster).await?;
    a_count_survives_its_leader(&cluster).await
}

async fn quotas_count_per_node(cluster: &Cluster) -> anyhow::Result<()> {
    let quota = r#"{"rate":1,"interval":"1h","path":"secret/"}"#;
    let made = cluster.as_root(0, "POST /v1/sys/quotas/rate-limit/q", quota).await?;
    ensure!(made.status == 204, "{made:?}");
    let leader = cluster.leader()?;
    let followers = (0..3).filter(|node| *node != leader);
    // The followers hand their writes to the leader, which has its own one left all the same.
    for node in followers.chain([leader]) {
        // A read waits until the node has the quota.
        cluster.as_root(node, "GET /v1/sys/quotas/rate-limit/q", "").await?;
        let line = format!("POST /v1/secret/data/n{node}");
        let first = cluster.as_root(node, &line, r#"{"data":{}}"#).await?;
        ensure!(first.status == 200, "{node} {first:?}");
        let second = cluster.as_root(node, &line, r#"{"data":{}}"#).await?;
        ensure!(second.status == 429, "{node} {second:?}");
        let says_when = |header: &String| header.starts_with("retry-after: 3");
        ensure!(second.headers.iter().any(says_when), "{second:?}");
    }
    Ok(())
}

async fn names_that_exist_answer_like_others(cluster: &Cluster) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    for name in ["anna", "nobody"] {
        let mut answers = Vec::new();
        for node in 0..8 {
            answers.push(cluster.log_in(node % 3, name, "wrong").await?);
        }
        // Locked out, so that the right password says no more.
        answers.push(cluster.log_in(0, name, "right").await?);
        seen.push(answers);
    }
    ensure!(seen[0] == seen[1], "{seen:?}");
    ensure!(seen[0].iter().all(|answer| *answer == seen[0][0]), "{seen:?}");
    ensure!(seen[0][0].status == 403, "{seen:?}");
    Ok(())
}

async fn a_count_survives_its_leader(cluster: &Cluster) -> anyhow::Result<()> {
    let leader = cluster.leader()?;
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    for (node, name) in [(0, "bob"), (1, "BOB"), (2, "%20bob")] {
        ensure!(cluster.log_in(node, name, "wrong").await?.status == 403);
    }
    cluster.kill(leader)?;
    for (node, name) in [(others[0], "bob%20"), (others[1], "Bob")] {
        ensure!(cluster.log_in(node, name, "wrong").await?.status == 403);
    }
    for node in others {
        let locked_out = cluster.log_in(node, "bob", "right").await?;
        ensure!(locked_out.status == 403, "{locked_out:?}");
        let other = cluster.log_in(node, "carl", "right").await?;
        ensure!(other.status == 200, "{other:?}");
    }
    Ok(())
}

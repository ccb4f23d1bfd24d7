//! A cluster without TLS on loopback: real processes, plain HTTP and plain gRPC.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use conclave_sdk::{Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// `conclaved dev`, ended with the test.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        // Its nodes end with it, for their standard input does.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Dev {
    async fn start(base: &Path) -> anyhow::Result<(Self, Value)> {
        let ready = base.join("ready.json");
        let child = Command::new(env!("CARGO_BIN_EXE_conclaved"))
            .args(["dev", "--plain-http", "--data-dir"])
            .arg(base.join("cluster"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("conclaved cannot be started")?;
        let mut dev = Self(child);
        for _ in 0..POLLS_MAX {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                return Ok((dev, serde_json::from_str(&text)?));
            }
            anyhow::ensure!(dev.0.try_wait()?.is_none(), "conclaved dev has ended");
            conclave_server::system::ports().clock.sleep(POLL).await;
        }
        anyhow::bail!("the cluster did not come up")
    }
}

/// One request over one connection: status and body.
async fn request(address: &str, head: &str, body: &str) -> anyhow::Result<(u16, Value)> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let length = body.len();
    let text = format!(
        "{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.get(9..12).context("a status line")?.parse()?;
    let lower = answer.to_ascii_lowercase();
    anyhow::ensure!(!lower.contains("strict-transport-security"), "there is no TLS to insist on");
    let (_, body) = answer.split_once("\r\n\r\n").context("a head")?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body)? };
    Ok((status, body))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_tls_serves_http_and_grpc_on_loopback() -> anyhow::Result<()> {
    let base = tempfile::tempdir()?;
    let (_dev, ready) = Dev::start(base.path()).await?;
    assert!(ready.get("ca_file").is_none(), "there is no authority");
    let token = ready["root_token"].as_str().context("a root token")?;
    let urls: Vec<&str> = ready["nodes"]
        .as_array()
        .context("nodes")?
        .iter()
        .filter_map(|node| node["api_addr"].as_str())
        .collect();
    assert_eq!(urls.len(), 3);
    for url in &urls {
        let address = url.strip_prefix("http://").context("an address without TLS")?;
        let (status, health) = request(address, "GET /v1/sys/health HTTP/1.1", "").await?;
        assert!([200, 429].contains(&status), "{status} {health}");
        assert_eq!(health["sealed"], json!(false));
        // A follower hands a write to the leader, over TLS between nodes.
        let head = format!("POST /v1/secret/data/http HTTP/1.1\r\nX-Vault-Token: {token}");
        let body = json!({"data": {"at": address}}).to_string();
        let (status, answer) = request(address, &head, &body).await?;
        assert_eq!(status, 200, "{answer}");
        let (_, leader) = request(address, "GET /v1/sys/leader HTTP/1.1", "").await?;
        let leader = leader["leader_address"].as_str().context("a leader")?.to_owned();
        assert!(urls.contains(&leader.as_str()), "{leader}");
    }
    let client = Client::connect(Config::new(urls.clone()).with_token(token)).await?;
    let kv = client.kv("secret");
    let last = kv.get("http", None).await?.context("it was written over HTTP")?;
    assert_eq!(last.version, 3);
    let written = kv.put("grpc", json!({"over": "gRPC"}), None).await?;
    assert_eq!(written.version, 1);
    Ok(())
}

#[test]
fn without_tls_no_other_machine_is_served() {
    let base = tempfile::tempdir().expect("a folder");
    for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:8200", "node.example:8200"] {
        let file = base.path().join("node.hcl");
        let text = format!(
            "listener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\n\
             api_addr = \"https://a:1\"\ncluster_addr = \"a:2\"\n\
             storage \"raft\" {{\n  path = \"data\"\n  node_id = \"n\"\n}}\n"
        );
        std::fs::write(&file, text).expect("writable");
        let run = Command::new(env!("CARGO_BIN_EXE_conclaved"))
            .args(["server", "--config"])
            .arg(&file)
            .output()
            .expect("conclaved starts");
        assert!(!run.status.success(), "{address}");
        let said = String::from_utf8_lossy(&run.stderr);
        let place = format!("{}:3:3: `listener.tcp.tls_disable`", file.display());
        assert!(said.contains(&place) && said.contains("loopback addresses alone"), "{said}");
    }
    assert!(!base.path().join("data").exists(), "it was refused before anything was made");
}

const POLL: Duration = Duration::from_millis(100);
const POLLS_MAX: u32 = 900;

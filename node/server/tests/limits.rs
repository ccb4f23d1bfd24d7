//! The longest value that a client may store, through both doors of a real node.

mod node;

use std::sync::Arc;

use anyhow::{Context, ensure};
use conclave_proto::ErrorCode;
use conclave_sdk::Client;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use node::Node;

/// What a version of a secret may hold at most: its JSON object as it is sent. In its record and
/// sealed it has exactly 1 MiB.
const DATA_BYTES_MAX: usize = conclave_barrier::VALUE_BYTES_MAX - 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_value_makes_the_round_trip_and_a_longer_one_is_not_proposed()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (node, token) = Node::found(directory.path()).await?;
    let client = node.client(&token).await?;
    Node::mount_secret(&client).await?;
    let (kv, longest, longer) =
        (client.kv("secret"), data(DATA_BYTES_MAX), data(DATA_BYTES_MAX + 1));

    kv.put("grpc", &longest, None).await?;
    let path = "/v1/secret/data/http";
    let (status, answer) = http(&node, &token, "PUT", path, &body(&longest)).await?;
    ensure!(status == 200, "{status} {answer}");
    for name in ["grpc", "http"] {
        let secret = kv.get(name, None).await?.context("it was written")?;
        ensure!(secret.value()? == longest, "gRPC reads something else of {name}");
        let path = format!("/v1/secret/data/{name}");
        let (status, answer) = http(&node, &token, "GET", &path, "").await?;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(status == 200 && answer["data"]["data"] == longest, "HTTP {status} of {name}");
    }

    // The SDK's writes carry a request id, and a session that is open already.
    let before = committed(&client).await?;
    for size in [&longer, &data(3 << 20)] {
        let refused = kv.put("grpc", size, None).await.err().context("it is too long")?;
        ensure!(refused.code() == Some(ErrorCode::TooLarge), "{refused}");
        let (status, answer) = http(&node, &token, "PUT", path, &body(size)).await?;
        ensure!(status == 413, "{status} {answer}");
    }
    ensure!(committed(&client).await? == before, "something was proposed");
    Ok(())
}

fn data(bytes: usize) -> Value {
    json!({"value": "x".repeat(bytes - r#"{"value":""}"#.len())})
}

fn body(data: &Value) -> String {
    format!("{{\"data\":{data}}}")
}

async fn committed(client: &Client) -> anyhow::Result<u64> {
    Ok(client.operator().status(None).await?.committed_index)
}

/// One request over HTTP/1.1; the status and the body.
async fn http(
    node: &Node,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(node.ca_pem.as_bytes())?)?;
    let provider = conclave_server::tls::provider();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(&node.address).await?;
    let name = ServerName::try_from("127.0.0.1")?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-vault-token: {token}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        node.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

//! Raw HTTP/1.1 over TLS: bytes in, status and body out, so that tests can send what no client
//! library would.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pace;

/// What a node answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends raw requests to one node.
pub(crate) struct Raw {
    connector: TlsConnector,
    address: std::net::SocketAddr,
    token: String,
}

impl Raw {
    pub(crate) fn new(ca_file: &Path, api_addr: &str, token: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca_file)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = api_addr.strip_prefix("https://").context("api_addr")?.parse()?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), address, token: token.into() })
    }

    /// Sends a request with the token.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: node\r\nX-Vault-Token: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.token,
            body.len()
        );
        self.exchange(&[head.as_bytes(), body].concat()).await
    }

    /// The same, answering with the body's bytes as they are.
    pub(crate) async fn send_for_bytes(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: node\r\nX-Vault-Token: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.token,
            body.len()
        );
        let answer = self.raw_exchange(&[head.as_bytes(), body].concat(), LONG_ANSWER_MAX).await?;
        parse(&answer)
    }

    /// Sends these bytes and reads until the node closes, or until one whole answer is there.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> anyhow::Result<Answer> {
        let (status, body) = parse(&self.raw_exchange(bytes, ANSWER_MAX).await?)?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// A connection, from this address of the machine where one is given.
    pub(crate) async fn connect(
        &self,
        source: Option<IpAddr>,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = source {
            socket.bind((source, 0).into())?;
        }
        let stream = socket.connect(self.address).await?;
        let name = ServerName::from(self.address.ip());
        Ok(self.connector.connect(name, stream).await?)
    }

    /// A connection for HTTP/2.
    pub(crate) async fn connect_http2(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let mut config = rustls::ClientConfig::clone(self.connector.config());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::from(self.address.ip());
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }

    async fn raw_exchange(&self, bytes: &[u8], limit: Duration) -> anyhow::Result<Vec<u8>> {
        pace::within(limit, "an answer", async {
            let mut stream = self.connect(None).await?;
            // A node that refuses early may stop reading; its answer counts all the same.
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            let mut answer = Vec::new();
            let mut piece = vec![0; 64 << 10];
            while let Ok(n) = stream.read(&mut piece).await {
                answer.extend_from_slice(&piece[..n]);
                if n == 0 || answer.len() > ANSWER_BYTES_MAX {
                    break;
                }
            }
            Ok(answer)
        })
        .await?
    }
}

fn parse(answer: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| {
            format!("no HTTP answer but {:?}", head.chars().take(80).collect::<String>())
        })?;
    let body = answer.get(end + 4..).unwrap_or_default();
    let chunked = head.contains("transfer-encoding: chunked");
    Ok((status, if chunked { dechunk(body)? } else { body.to_vec() }))
}

/// Joins the pieces of a chunked body (RFC 9112, section 7.1).
fn dechunk(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").context("a cut chunk")?;
        let size = std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        let begin = end + 2;
        body.extend_from_slice(rest.get(begin..begin + size).context("a cut chunk")?);
        rest = rest.get(begin + size + 2..).context("a cut chunk")?;
    }
}

const ANSWER_MAX: Duration = Duration::from_secs(30);
/// For a backup's bytes.
const LONG_ANSWER_MAX: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 256 << 20;

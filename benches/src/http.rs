//! Vault's door.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::pace;

/// Sends requests to one node.
#[derive(Clone)]
pub(crate) struct Http {
    connector: TlsConnector,
    address: SocketAddr,
    token: String,
}

/// A connection that is kept, for one request after the other.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
    host: String,
    token: String,
}

impl Http {
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

    /// Status and body of the answer, over a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(u16, Bytes)> {
        self.connect().await?.send("GET", path, Bytes::new()).await
    }

    /// Status and body of the answer, over a connection of its own.
    pub(crate) async fn put(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<(u16, Bytes)> {
        self.connect().await?.send("PUT", path, body.to_string().into()).await
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let stream = TokioIo::new(self.connector.connect(name, stream).await?);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let driver = pace::task(connection);
        Ok(Connection { sender, driver, host: self.address.to_string(), token: self.token.clone() })
    }
}

impl Connection {
    /// Status and body of the answer.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(u16, Bytes)> {
        self.sender.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("host", &self.host)
            .header("x-vault-token", &self.token)
            .body(Full::new(body))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

//! Vault's door: one request a connection.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pace;

/// Sends requests to one node.
pub(crate) struct Http {
    connector: TlsConnector,
    address: SocketAddr,
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

    /// Status and body of the answer.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(u16, Bytes)> {
        self.send("GET", path, Bytes::new()).await
    }

    /// Status and body of the answer.
    pub(crate) async fn put(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<(u16, Bytes)> {
        self.send("PUT", path, body.to_string().into()).await
    }

    async fn send(&self, method: &str, path: &str, body: Bytes) -> anyhow::Result<(u16, Bytes)> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::from(self.address.ip());
        let stream = TokioIo::new(self.connector.connect(name, stream).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let connection = pace::task(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("host", self.address.to_string())
            .header("x-vault-token", &self.token)
            .body(Full::new(body))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok((status, body))
    }
}

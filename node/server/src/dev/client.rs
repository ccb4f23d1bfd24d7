//! The few calls that the supervisor makes to its nodes.

use std::sync::Arc;

use anyhow::Context;
use conclave_proto::v1;
use conclave_proto::v1::logical_client::LogicalClient;
use conclave_proto::v1::operator_client::OperatorClient;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::layout::{Layout, NodeLayout};

/// Opens a channel to a node, trusting the development CA only where there is one. Connects at the first call.
pub(super) fn operator_of(
    layout: &Layout,
    node: &NodeLayout,
) -> anyhow::Result<OperatorClient<Channel>> {
    Ok(OperatorClient::new(channel_to(layout, node)?))
}

/// Enables a KV store with versions at `secret/`, which a development cluster has from the start.
pub(super) async fn mount_secret(
    layout: &Layout,
    node: &NodeLayout,
    root_token: &str,
) -> anyhow::Result<()> {
    let body = serde_json::json!({
        "type": "kv",
        "description": "key/value secret storage",
        "options": { "version": "2" },
    });
    let mut request = tonic::Request::new(v1::LogicalRequest {
        operation: v1::Operation::Write.into(),
        path: "sys/mounts/secret".to_owned(),
        body: body.to_string().into(),
        ..v1::LogicalRequest::default()
    });
    let bearer = format!("Bearer {root_token}");
    let token = bearer.parse().context("the root token is no header's value")?;
    request.metadata_mut().insert("authorization", token);
    LogicalClient::new(channel_to(layout, node)?)
        .call(request)
        .await
        .context("enabling secret/")?;
    Ok(())
}

fn channel_to(layout: &Layout, node: &NodeLayout) -> anyhow::Result<Channel> {
    let address = node.api;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let Some(ca_file) = &layout.ca_file else { return Ok(endpoint.connect_lazy()) };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_file).context("the development CA")?)?;
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::from(address.ip());
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connect))
}

/// What a node says of itself, or `None` while it cannot be reached.
pub(super) async fn status(client: &mut OperatorClient<Channel>) -> Option<v1::NodeStatusResponse> {
    client.status(v1::NodeStatusRequest {}).await.ok().map(tonic::Response::into_inner)
}

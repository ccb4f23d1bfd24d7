//! The few calls that the supervisor makes to its nodes.

use std::sync::Arc;

use anyhow::Context;
use conclave_proto::v1;
use conclave_proto::v1::operator_client::OperatorClient;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::layout::{Layout, NodeLayout};

/// Opens a channel to a node, trusting the development CA only. Connects at the first call.
pub(super) fn operator_of(
    layout: &Layout,
    node: &NodeLayout,
) -> anyhow::Result<OperatorClient<Channel>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&layout.ca_file).context("the development CA")?)?;
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let address = node.api;
    let connect = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::from(address.ip());
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(OperatorClient::new(endpoint.connect_with_connector_lazy(connect)))
}

/// What a node says of itself, or `None` while it cannot be reached.
pub(super) async fn status(client: &mut OperatorClient<Channel>) -> Option<v1::NodeStatusResponse> {
    client.status(v1::NodeStatusRequest {}).await.ok().map(tonic::Response::into_inner)
}

//! Connections: TCP, then TLS 1.2 or 1.3 by rustls, then HTTP/2 by tonic.
//!
//! Without TLS is only a connection to this machine, and it is looked at again once it is open: a
//! name that resolves to somewhere else gets no byte.
//!
//! tonic's own TLS is not used: the provider is named here, whatever the process has installed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::address::Address;
use crate::config::{CertificateAuthority, Config, Timeouts};
use crate::error::Error;
use crate::stream::Stream;

/// Makes channels to nodes.
#[derive(Clone)]
pub(crate) struct Dialer {
    /// Or what is missing for it, which matters only once an address asks for TLS.
    tls: Result<Arc<ClientConfig>, &'static str>,
    server_name: Option<ServerName<'static>>,
    timeouts: Timeouts,
}

impl Dialer {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let server_name = config.server_name.clone().map(parse_server_name).transpose()?;
        let tls = if config.ca.is_none() && !config.danger_accept_invalid_certs {
            Err(NO_AUTHORITY)
        } else {
            Ok(Arc::new(tls_config(config)?))
        };
        Ok(Self { tls, server_name, timeouts: config.timeouts })
    }

    /// A channel that connects at its first request, and again after each loss.
    pub(crate) fn channel(&self, address: &Address) -> Result<Channel, Error> {
        let authority = address.authority();
        let uri = |scheme: &str| {
            format!("{scheme}://{authority}").parse::<http::Uri>().map_err(|_| Error::Config {
                message: format!("the address {address} is not a URL; write https://host:8200"),
            })
        };
        // The scheme `http` keeps tonic from asking for its own TLS; the origin is what is sent.
        let endpoint = Endpoint::from(uri("http")?)
            .origin(uri(address.scheme())?)
            .connect_timeout(self.timeouts.connect)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Ok(endpoint.connect_with_connector_lazy(Connector {
            tls: if address.is_plain() { None } else { Some(self.tls_to(address)?) },
            host: address.host().to_owned(),
            port: address.port(),
        }))
    }

    fn tls_to(&self, address: &Address) -> Result<(TlsConnector, ServerName<'static>), Error> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_server_name(address.host().to_owned())?,
        };
        let tls = self.tls.clone().map_err(refused)?;
        Ok((TlsConnector::from(tls), name))
    }
}

/// Opens one connection for tonic, each time it is called.
struct Connector {
    /// And the name that the certificate must carry; `None` without TLS.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    host: String,
    port: u16,
}

type Connected = Result<TokioIo<Stream>, std::io::Error>;

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Connected> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let tls = self.tls.clone();
        let (host, port) = (self.host.clone(), self.port);
        Box::pin(async move {
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            let stream = match tls {
                Some((tls, name)) => Stream::Tls(Box::new(tls.connect(name, tcp).await?)),
                None if tcp.peer_addr()?.ip().is_loopback() => Stream::Plain(tcp),
                None => return Err(std::io::Error::other(NOT_THIS_MACHINE)),
            };
            Ok(TokioIo::new(stream))
        })
    }
}

fn tls_config(config: &Config) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config {
            message: format!("TLS cannot be set up ({error}); report this as a bug"),
        })?;
    let mut tls = if config.danger_accept_invalid_certs {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
            .with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(config.ca.as_ref())?).with_no_client_auth()
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(tls)
}

fn roots(ca: Option<&CertificateAuthority>) -> Result<RootCertStore, Error> {
    let (pem, source) = match ca {
        None => return Err(refused(NO_AUTHORITY)),
        Some(CertificateAuthority::Pem(pem)) => (pem.clone(), "the given PEM text".to_owned()),
        Some(CertificateAuthority::File(path)) => {
            let source = path.display().to_string();
            let pem = std::fs::read(path)
                .map_err(|error| refused(&format!("{source} cannot be read: {error}")))?;
            (pem, source)
        }
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|error| refused(&format!("{source} is damaged ({error})")))?;
        roots.add(certificate).map_err(|error| {
            refused(&format!("a certificate in {source} is unusable ({error})"))
        })?;
    }
    if roots.is_empty() {
        return Err(refused(&format!("{source} holds no certificate")));
    }
    Ok(roots)
}

fn refused(what: &str) -> Error {
    Error::Config { message: format!("{what}; give the cluster's CA certificate in PEM form") }
}

fn parse_server_name(name: String) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.clone()).map_err(|_| Error::Config {
        message: format!("{name:?} is neither a host name nor an IP address; correct the address"),
    })
}

/// Trusts every certificate, but still checks that its owner speaks.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const NO_AUTHORITY: &str = "no certificate authority is given";
const NOT_THIS_MACHINE: &str =
    "the address has no TLS and its name is not of this machine; write https://host:8200";
/// A dead peer is noticed after these two together, while requests wait.
const KEEP_ALIVE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

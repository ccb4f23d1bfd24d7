//! TLS between nodes: version 1.3 only, both sides with a certificate, trusted by pin.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, SignatureScheme,
};

use super::{NodeIdentity, SpkiPin, TlsError, provider};

/// Which key must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The one that the membership names.
    Pin(SpkiPin),
    /// Any: the caller joins, and a proof over both pins and the session shows who answered.
    AnyoneWhoProvesLater,
}

/// What a node says to peers that call it. Any certificate is let through here, as long as the
/// caller holds its key; who may say what is decided message by message.
///
/// # Errors
/// [`TlsError::Configuration`] where the provider lacks TLS 1.3.
pub fn peer_server_config(identity: &Arc<NodeIdentity>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = Arc::new(AnyKeyHolder(Arc::clone(&provider)));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TlsError::Configuration(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(identity) as _);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// What a node says to a peer it calls.
///
/// # Errors
/// [`TlsError::Configuration`] where the provider lacks TLS 1.3.
pub fn peer_client_config(
    identity: &Arc<NodeIdentity>,
    expect: Expect,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = Arc::new(PinnedServer { provider: Arc::clone(&provider), expect });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TlsError::Configuration(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::clone(identity) as _);
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Accepts every client that holds the key of the certificate it shows.
#[derive(Debug)]
struct AnyKeyHolder(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyKeyHolder {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        pin_of(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts the server whose key is the expected one.
#[derive(Debug)]
struct PinnedServer {
    provider: Arc<CryptoProvider>,
    expect: Expect,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pin = pin_of(end_entity)?;
        match self.expect {
            Expect::Pin(expected) if expected != pin => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Expect::Pin(_) | Expect::AnyoneWhoProvesLater => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn pin_of(certificate: &CertificateDer<'_>) -> Result<SpkiPin, Error> {
    SpkiPin::of_certificate(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn only_tls13() -> Error {
    PeerIncompatible::SupportedVersionsExtensionRequired.into()
}

/// gRPC needs HTTP/2; a client of the public port that lands here speaks it too, and is refused
/// for want of a certificate.
const ALPN: &[u8] = b"h2";

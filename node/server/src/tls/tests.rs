//! Handshakes between nodes over memory, and files on a temporary disk.

use super::*;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, ServerConnection};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const CLUSTER: [u8; 16] = [7; 16];

struct Node {
    directory: tempfile::TempDir,
    identity: Arc<NodeIdentity>,
}

fn node(name: &str) -> Node {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let identity = NodeIdentity::load_or_make(directory.path(), name).expect("a new identity");
    Node { directory, identity }
}

/// Runs a handshake in memory; both ends, or the first error of either.
fn shake_hands(
    client: Arc<ClientConfig>,
    server: Arc<rustls::ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from("peer.conclave.internal").expect("a valid name");
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("memory is writable");
        server.read_tls(&mut bytes.as_slice()).expect("memory is readable");
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).expect("memory is writable");
        client.read_tls(&mut bytes.as_slice()).expect("memory is readable");
        client.process_new_packets()?;
    }
    Ok((client, server))
}

fn peers(
    client: &Node,
    server: &Node,
    expect: Expect,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    shake_hands(
        peer_client_config(&client.identity, expect).expect("a configuration"),
        peer_server_config(&server.identity).expect("a configuration"),
    )
}

#[test]
fn two_nodes_speak_tls_1_3_with_the_hybrid_group_and_know_each_others_pins() {
    let (a, b) = (node("a"), node("b"));
    let (client, server) = peers(&a, &b, Expect::Pin(b.identity.pin())).expect("they trust");
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    for group in [client.negotiated_key_exchange_group(), server.negotiated_key_exchange_group()] {
        assert_eq!(group.expect("it was negotiated").name(), NamedGroup::X25519MLKEM768);
    }
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    let shown = |chain: Option<&[CertificateDer<'static>]>| {
        SpkiPin::of_certificate(&chain.expect("one was shown")[0]).expect("it parses")
    };
    assert_eq!(shown(server.peer_certificates()), a.identity.pin());
    assert_eq!(shown(client.peer_certificates()), b.identity.pin());
    let export = |exported: Result<[u8; 32], rustls::Error>| exported.expect("it is complete");
    assert_eq!(
        export(client.export_keying_material([0; 32], b"EXPORTER-test", None)),
        export(server.export_keying_material([0; 32], b"EXPORTER-test", None)),
    );
}

#[test]
fn a_server_with_another_key_is_refused() {
    let (a, b, other) = (node("a"), node("b"), node("other"));
    let error = peers(&a, &b, Expect::Pin(other.identity.pin())).expect_err("refused");
    assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
    peers(&a, &b, Expect::AnyoneWhoProvesLater).expect("a joiner looks at the proof instead");
}

/// A client that is no node.
fn foreign_client(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let roots = rustls::RootCertStore::empty();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[test]
fn a_tls_1_2_client_is_refused() {
    let b = node("b");
    let server = peer_server_config(&b.identity).expect("a configuration");
    let client = foreign_client(&[&rustls::version::TLS12]);
    let error = shake_hands(client, server).expect_err("refused");
    assert!(matches!(error, rustls::Error::PeerIncompatible(_)), "{error}");
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let (a, b) = (node("a"), node("b"));
    let mut config = (*peer_client_config(&a.identity, Expect::Pin(b.identity.pin()))
        .expect("a configuration"))
    .clone();
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    let server = peer_server_config(&b.identity).expect("a configuration");
    let error = shake_hands(Arc::new(config), server).expect_err("refused");
    assert!(matches!(error, rustls::Error::NoCertificatesPresented), "{error}");
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_client_that_shows_anothers_certificate_is_refused() {
    let (a, b, victim) = (node("a"), node("b"), node("victim"));
    let stolen = rustls::client::ResolvesClientCert::resolve(&*victim.identity, &[], &[])
        .expect("it has one");
    let own = rustls::client::ResolvesClientCert::resolve(&*a.identity, &[], &[]).expect("one");
    let mixed = rustls::sign::CertifiedKey::new(stolen.cert.clone(), Arc::clone(&own.key));
    let mut config = (*peer_client_config(&a.identity, Expect::Pin(b.identity.pin()))
        .expect("a configuration"))
    .clone();
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(mixed));
    let server = peer_server_config(&b.identity).expect("a configuration");
    let error = shake_hands(Arc::new(config), server).expect_err("refused");
    assert!(
        matches!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)),
        "{error}"
    );
}

#[test]
fn an_identity_survives_a_restart_and_its_files_are_private() {
    let a = node("a");
    let again = NodeIdentity::load_or_make(a.directory.path(), "a").expect("it reads");
    assert_eq!(again.pin(), a.identity.pin());
    let mode =
        |path: &Path| std::fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&a.directory.path().join("tls")), 0o700);
    for file in ["node.key", "node.crt"] {
        assert_eq!(mode(&a.directory.path().join("tls").join(file)), 0o600, "{file}");
    }
    assert!(!format!("{:?}", a.identity).contains("PRIVATE"));
}

#[test]
fn a_damaged_or_foreign_key_file_is_named() {
    let (a, other) = (node("a"), node("other"));
    let key = a.directory.path().join("tls/node.key");
    std::fs::write(&key, "garbage").expect("writable");
    let error = NodeIdentity::load_or_make(a.directory.path(), "a").expect_err("garbage");
    assert!(matches!(error, TlsError::Content { what: "private key", .. }), "{error}");
    std::fs::copy(other.directory.path().join("tls/node.key"), &key).expect("writable");
    let error = NodeIdentity::load_or_make(a.directory.path(), "a").expect_err("another's key");
    assert!(matches!(error, TlsError::Mismatch(_)), "{error}");
}

/// Damage that is still PEM: nobody sent it, so the file is what the operator must hear of.
#[test]
fn a_damaged_certificate_file_is_named() {
    for file in ["node.crt", "ca.crt"] {
        let a = node("a");
        let path = a.directory.path().join("tls").join(file);
        for damaged in ["garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            std::fs::write(&path, damaged).expect("writable");
            let error = NodeIdentity::load_or_make(a.directory.path(), "a").expect_err("damaged");
            let said = error.to_string();
            assert!(said.contains(path.to_str().expect("text")), "{said}");
            assert!(!said.contains("the peer"), "{said}");
        }
    }
    let (a, other) = (node("a"), node("other"));
    let path = a.directory.path().join("tls/node.crt");
    std::fs::copy(other.directory.path().join("tls/node.crt"), &path).expect("writable");
    let error = NodeIdentity::load_or_make(a.directory.path(), "a").expect_err("another's");
    assert!(error.to_string().contains(path.to_str().expect("text")), "{error}");
}

fn signed(ca: &ClusterCa, node: &Node, node_id: u64) -> Vec<u8> {
    let csr = node.identity.make_csr("a").expect("a request");
    ca.sign(&csr, node_id, "a", &CLUSTER).expect("it is valid")
}

#[test]
fn the_authority_signs_a_nodes_key_and_recognises_it() {
    let a = node("a");
    let ca = ClusterCa::make(&CLUSTER).expect("an authority");
    let certificate = CertificateDer::from(signed(&ca, &a, 5));
    assert_eq!(SpkiPin::of_certificate(&certificate).expect("parses"), a.identity.pin());
    let public = CaCertificate::from_der(ca.certificate_der()).expect("it is one");
    assert_eq!(public.node_id_of(&certificate).expect("it is ours"), 5);
    let stranger = ClusterCa::make(&CLUSTER).expect("an authority");
    let stranger = CaCertificate::from_der(stranger.certificate_der()).expect("it is one");
    assert!(matches!(stranger.node_id_of(&certificate), Err(TlsError::Foreign(_))));
}

#[test]
fn the_authority_outlives_a_restart() {
    let a = node("a");
    let ca = ClusterCa::make(&CLUSTER).expect("an authority");
    let again = ClusterCa::from_parts(ca.certificate_der(), ca.key_der().clone()).expect("same");
    let public = CaCertificate::from_der(ca.certificate_der()).expect("it is one");
    let certificate = CertificateDer::from(signed(&again, &a, 6));
    assert_eq!(public.node_id_of(&certificate).expect("it is ours"), 6);
    let other = ClusterCa::make(&CLUSTER).expect("an authority");
    let mixed = ClusterCa::from_parts(other.certificate_der(), ca.key_der().clone());
    assert!(matches!(mixed, Err(TlsError::Mismatch(_))));
}

#[test]
fn a_self_signed_certificate_with_a_members_name_is_not_the_clusters() {
    let a = node("a");
    let ca = ClusterCa::make(&CLUSTER).expect("an authority");
    let public = CaCertificate::from_der(ca.certificate_der()).expect("it is one");
    let own = rustls::client::ResolvesClientCert::resolve(&*a.identity, &[], &[]).expect("one");
    assert!(matches!(public.node_id_of(&own.cert[0]), Err(TlsError::Foreign(_))));
    assert!(matches!(
        public.node_id_of(&CertificateDer::from(vec![0; 9])),
        Err(TlsError::Foreign(_))
    ));
}

#[test]
fn an_installed_certificate_is_presented_and_kept() {
    let (a, b) = (node("a"), node("b"));
    let ca = ClusterCa::make(&CLUSTER).expect("an authority");
    let certificate = signed(&ca, &a, 5);
    a.identity.install(&certificate, ca.certificate_der()).expect("it fits");
    let (_, server) = peers(&a, &b, Expect::Pin(b.identity.pin())).expect("they trust");
    assert_eq!(server.peer_certificates().expect("shown")[0].as_ref(), certificate);
    let again = NodeIdentity::load_or_make(a.directory.path(), "a").expect("it reads");
    let authority = again.authority().expect("it was kept");
    assert_eq!(authority.as_der(), ca.certificate_der());
    let foreign = signed(&ca, &b, 6);
    assert!(matches!(
        a.identity.install(&foreign, ca.certificate_der()),
        Err(TlsError::Mismatch(_))
    ));
}

#[test]
fn bad_requests_are_refused() {
    let a = node("a");
    let ca = ClusterCa::make(&CLUSTER).expect("an authority");
    let mut csr = a.identity.make_csr("a").expect("a request");
    assert_eq!(request_pin(&csr).expect("it is right"), a.identity.pin());
    let last = csr.len() - 1;
    csr[last] ^= 1;
    assert!(matches!(ca.sign(&csr, 5, "a", &CLUSTER), Err(TlsError::Request(_))));
    for bytes in [vec![], vec![0x30; 40], vec![0; 100_000]] {
        assert!(matches!(ca.sign(&bytes, 5, "a", &CLUSTER), Err(TlsError::Request(_))));
    }
}

fn public_client(ca_pem: &str) -> Arc<ClientConfig> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("PEM");
    roots.add(der).expect("an authority");
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

#[test]
fn the_public_certificate_is_reloaded_and_a_bad_file_changes_nothing() {
    use crate::config::{TlsFiles, TlsVersion};
    let directory = tempfile::tempdir().expect("a temporary directory");
    let files = TlsFiles {
        certificate: directory.path().join("public.crt"),
        key: directory.path().join("public.key"),
    };
    let names = ["peer.conclave.internal".to_owned(), "127.0.0.1".to_owned()];
    let write = |made: &DevCertificate| {
        std::fs::write(&files.certificate, &made.certificate_pem).expect("writable");
        std::fs::write(&files.key, made.key_pem.as_bytes()).expect("writable");
    };
    let (first, second) = (make_dev_ca().expect("made"), make_dev_ca().expect("made"));
    write(&sign_dev_server(&first, &names).expect("signed"));
    let tls = PublicTls::load(&files).expect("it reads");
    let server = tls.server_config(TlsVersion::Tls12).expect("a configuration");
    let trusts =
        |ca: &DevCa| shake_hands(public_client(&ca.certificate_pem), Arc::clone(&server)).is_ok();
    assert!(trusts(&first) && !trusts(&second));
    write(&sign_dev_server(&second, &names).expect("signed"));
    assert!(trusts(&first), "nothing changes before the reload");
    tls.reload().expect("it reads");
    assert!(trusts(&second) && !trusts(&first));
    std::fs::write(&files.key, "garbage").expect("writable");
    assert!(matches!(tls.reload(), Err(TlsError::Content { what: "private key", .. })));
    assert!(trusts(&second));
}

#[test]
fn a_made_public_certificate_is_trusted_by_who_has_it() {
    let tls = PublicTls::make(&["peer.conclave.internal".to_owned()]).expect("made");
    let server = tls.server_config(crate::config::TlsVersion::Tls13).expect("a configuration");
    let client = public_client(tls.made_certificate_pem().expect("it was made here"));
    let (client, _) = shake_hands(client, server).expect("they trust");
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(
        client.negotiated_key_exchange_group().expect("negotiated").name(),
        NamedGroup::X25519MLKEM768
    );
}

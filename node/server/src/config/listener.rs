//! `listener "tcp"`: where clients and peers connect, and the public certificate.

use std::path::PathBuf;
use std::time::Duration;

use super::section::Section;
use super::{Address, ConfigError};

/// The public listener, and the peer listener beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Clients: HTTP and gRPC.
    pub address: Address,
    /// Peers and joining nodes.
    pub cluster_address: Address,
    /// The public certificate and key; without them the node makes its own at start.
    pub tls_files: Option<TlsFiles>,
    /// The lowest version that clients may speak.
    pub tls_version_min: TlsVersion,
    /// Of a request body, in bytes; more is answered with 413.
    pub request_bytes_max: u64,
    /// From a request's first byte to its answer.
    pub request_duration_max: Duration,
    /// Whether metrics are served without a token.
    pub unauthenticated_metrics_access: bool,
}

/// Where the public certificate lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then intermediates.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// A TLS version that clients may be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

pub(super) fn read(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<Listener, ConfigError> {
    let mut found = root.labelled("listener")?;
    let Some((label, mut section)) = found.pop() else {
        return Err(ConfigError::Missing {
            key: "listener.tcp".to_owned(),
            expected: "an object with `address`",
        });
    };
    if !found.is_empty() {
        return Err(ConfigError::Unsupported {
            key: "listener".to_owned(),
            reason: "this version has one listener; keep one",
        });
    }
    if label != "tcp" {
        return Err(ConfigError::Unsupported {
            key: section.key(""),
            reason: "listeners are of type \"tcp\"; use that",
        });
    }
    let listener = read_tcp(&mut section, warnings)?;
    section.finish(warnings);
    Ok(listener)
}

fn read_tcp(section: &mut Section, warnings: &mut Vec<String>) -> Result<Listener, ConfigError> {
    let address = read_address(section, "address")?
        .unwrap_or_else(|| Address::parse(ADDRESS_DEFAULT).expect("the default address parses"));
    let cluster_address = match read_address(section, "cluster_address")? {
        Some(address) => address,
        None => address.next_port().ok_or_else(|| section.wrong("address", NO_NEXT_PORT))?,
    };
    refuse_plain_text(section)?;
    if section.path("tls_client_ca_file")?.is_some() {
        warnings.push(format!(
            "`{}` has no effect yet: client certificates are not asked for",
            section.key("tls_client_ca_file")
        ));
    }
    Ok(Listener {
        address,
        cluster_address,
        tls_files: read_tls_files(section)?,
        tls_version_min: read_tls_version(section)?,
        request_bytes_max: section
            .integer("max_request_size", REQUEST_BYTES_MIN..=REQUEST_BYTES_MAX)?
            .unwrap_or(REQUEST_BYTES_DEFAULT),
        request_duration_max: section
            .duration("max_request_duration")?
            .unwrap_or(REQUEST_DURATION_DEFAULT),
        unauthenticated_metrics_access: read_telemetry(section, warnings)?,
    })
}

fn read_address(section: &mut Section, key: &str) -> Result<Option<Address>, ConfigError> {
    let Some(text) = section.string(key)? else { return Ok(None) };
    match Address::parse(&text) {
        Some(address) => Ok(Some(address)),
        None => Err(section.wrong(key, Address::EXPECTED)),
    }
}

fn refuse_plain_text(section: &mut Section) -> Result<(), ConfigError> {
    if section.boolean("tls_disable")?.unwrap_or(false) {
        return Err(ConfigError::Unsupported {
            key: section.key("tls_disable"),
            reason: "secrets do not travel in plain text; remove it (without `tls_cert_file` the \
                     node makes its own certificate)",
        });
    }
    Ok(())
}

fn read_tls_files(section: &mut Section) -> Result<Option<TlsFiles>, ConfigError> {
    match (section.path("tls_cert_file")?, section.path("tls_key_file")?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (Some(_), None) => Err(ConfigError::Missing {
            key: section.key("tls_key_file"),
            expected: "the path of the certificate's private key",
        }),
        (None, Some(_)) => Err(ConfigError::Missing {
            key: section.key("tls_cert_file"),
            expected: "the path of the private key's certificate",
        }),
    }
}

fn read_tls_version(section: &mut Section) -> Result<TlsVersion, ConfigError> {
    match section.string("tls_min_version")?.as_deref() {
        None | Some("tls12") => Ok(TlsVersion::Tls12),
        Some("tls13") => Ok(TlsVersion::Tls13),
        Some(_) => Err(section.wrong("tls_min_version", "\"tls12\" or \"tls13\"")),
    }
}

fn read_telemetry(section: &mut Section, warnings: &mut Vec<String>) -> Result<bool, ConfigError> {
    let Some(mut telemetry) = section.section("telemetry")? else { return Ok(false) };
    let open = telemetry.boolean("unauthenticated_metrics_access")?.unwrap_or(false);
    telemetry.finish(warnings);
    Ok(open)
}

const ADDRESS_DEFAULT: &str = "127.0.0.1:8200";
const NO_NEXT_PORT: &str = "a port below 65535, or set `cluster_address` too";
/// A request of one value must fit.
const REQUEST_BYTES_MIN: u64 = 64 * 1024;
const REQUEST_BYTES_MAX: u64 = 1 << 30;
/// A 1 MiB value, escaped at the worst, still fits.
const REQUEST_BYTES_DEFAULT: u64 = 8 << 20;
const REQUEST_DURATION_DEFAULT: Duration = Duration::from_secs(90);

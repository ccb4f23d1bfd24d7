//! `listener "tcp"`: where clients and peers connect, and the public certificate.

use std::path::PathBuf;
use std::time::Duration;

use conclave_gateway::JsonLimits;

use super::section::Section;
use super::{Address, ConfigError, vault};

/// Where clients connect, and under which limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// HTTP and gRPC.
    pub address: Address,
    /// Whether it is without TLS. Its address is a loopback address then.
    pub plain: bool,
    /// The public certificate and key; without them the node makes its own at start.
    pub tls_files: Option<TlsFiles>,
    /// The lowest version that clients may speak.
    pub tls_version_min: TlsVersion,
    /// Of a request body, in bytes; more is answered with 413.
    pub request_bytes_max: u64,
    /// From a request's first byte to its answer.
    pub request_duration_max: Duration,
    /// How much one JSON body may hold.
    pub json: JsonLimits,
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

/// The public listeners, of which there is one at least, and where peers and joining nodes connect.
pub(super) fn read(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Listener>, Address), ConfigError> {
    let mut listeners = Vec::new();
    let mut cluster: Option<Address> = None;
    for (label, mut section) in root.labelled("listener")? {
        if label != "tcp" {
            return Err(section.unsupported("", "listeners are of type \"tcp\"; use that"));
        }
        if listeners.len() == LISTENERS_MAX {
            return Err(section.unsupported("", "a node has at most 16 listeners; keep those"));
        }
        let address = read_address(&mut section, "address")?
            .unwrap_or_else(|| Address::parse(ADDRESS_DEFAULT).expect("the default parses"));
        if let Some(given) = read_address(&mut section, "cluster_address")? {
            if cluster.as_ref().is_some_and(|other| *other != given) {
                return Err(section.unsupported(
                    "cluster_address",
                    "another listener names one too, and peers connect to one; keep that",
                ));
            }
            cluster = Some(given);
        }
        if cluster.is_none() && listeners.is_empty() && address.next_port().is_none() {
            return Err(section.wrong("address", NO_NEXT_PORT));
        }
        listeners.push(read_tcp(address, &mut section, warnings)?);
        section.finish(warnings)?;
    }
    let Some(first) = listeners.first() else {
        return Err(root.missing("listener", EXPECTED));
    };
    let cluster = cluster.or_else(|| first.address.next_port());
    let cluster = cluster.ok_or_else(|| root.wrong("listener", NO_NEXT_PORT))?;
    Ok((listeners, cluster))
}

fn read_tcp(
    address: Address,
    section: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<Listener, ConfigError> {
    vault::ignore(section, vault::LISTENER, warnings);
    let plain = section.boolean("tls_disable")?.unwrap_or(false);
    if plain && !address.is_loopback() {
        return Err(section.unsupported("tls_disable", PLAIN_IS_LOCAL));
    }
    refuse_unprotected(section)?;
    if section.path("tls_client_ca_file")?.is_some() {
        warnings.push(format!(
            "`{}` has no effect yet: client certificates are not asked for",
            section.key("tls_client_ca_file")
        ));
    }
    let tls_files = read_tls_files(section)?;
    if plain && tls_files.is_some() {
        warnings
            .push(format!("`{}` has no effect: tls_disable is set", section.key("tls_cert_file")));
    }
    Ok(Listener {
        address,
        plain,
        tls_files: tls_files.filter(|_| !plain),
        tls_version_min: read_tls_version(section)?,
        request_bytes_max: section
            .integer("max_request_size", REQUEST_BYTES_MIN..=REQUEST_BYTES_MAX)?
            .unwrap_or(REQUEST_BYTES_DEFAULT),
        request_duration_max: section
            .duration("max_request_duration")?
            .unwrap_or(REQUEST_DURATION_DEFAULT),
        json: read_json_limits(section)?,
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

/// What a file asks for to keep somebody out must not be left undone in silence.
fn refuse_unprotected(section: &mut Section) -> Result<(), ConfigError> {
    if section.boolean("tls_require_and_verify_client_cert")?.unwrap_or(false) {
        return Err(section.unsupported(
            "tls_require_and_verify_client_cert",
            "client certificates are not asked for yet; remove it, or put a proxy before the node \
             that asks for them",
        ));
    }
    for key in ["proxy_protocol_behavior", "proxy_protocol_authorized_addrs"] {
        if section.has_any(&[key]) {
            return Err(section.unsupported(
                key,
                "the listener does not speak the PROXY protocol; remove it here and at the proxy",
            ));
        }
    }
    if section.has_any(&["chroot_namespace"]) {
        return Err(
            section.unsupported("chroot_namespace", "this version has no namespaces; remove it")
        );
    }
    Ok(())
}

fn read_tls_files(section: &mut Section) -> Result<Option<TlsFiles>, ConfigError> {
    match (section.path("tls_cert_file")?, section.path("tls_key_file")?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (Some(_), None) => {
            Err(section.missing("tls_key_file", "the path of the certificate's private key"))
        }
        (None, Some(_)) => {
            Err(section.missing("tls_cert_file", "the path of the private key's certificate"))
        }
    }
}

fn read_tls_version(section: &mut Section) -> Result<TlsVersion, ConfigError> {
    match section.string("tls_min_version")?.as_deref() {
        None | Some("tls12") => Ok(TlsVersion::Tls12),
        Some("tls13") => Ok(TlsVersion::Tls13),
        Some(_) => Err(section.wrong("tls_min_version", "\"tls12\" or \"tls13\"")),
    }
}

/// The names are Vault's but for the last two, which are OpenBao's. 0 means the default, and what is
/// above the gateway's fixed bounds means those.
fn read_json_limits(section: &mut Section) -> Result<JsonLimits, ConfigError> {
    let mut limits = JsonLimits::default();
    for (key, limit) in [
        ("max_json_depth", &mut limits.depth_max),
        ("max_json_string_value_length", &mut limits.string_bytes_max),
        ("max_json_object_entry_count", &mut limits.object_entries_max),
        ("max_json_array_element_count", &mut limits.array_elements_max),
        ("max_json_token", &mut limits.values_max),
        ("max_request_json_strings", &mut limits.strings_max),
        ("max_request_json_memory", &mut limits.memory_bytes_max),
    ] {
        if let Some(given) = section.integer(key, 0..=REQUEST_BYTES_MAX)?
            && given > 0
        {
            *limit = usize::try_from(given).expect("the range is below 4 GiB");
        }
    }
    Ok(limits)
}

fn read_telemetry(section: &mut Section, warnings: &mut Vec<String>) -> Result<bool, ConfigError> {
    let Some(mut telemetry) = section.section("telemetry")? else { return Ok(false) };
    vault::ignore(&mut telemetry, vault::LISTENER_TELEMETRY, warnings);
    let open = telemetry.boolean("unauthenticated_metrics_access")?.unwrap_or(false);
    telemetry.finish(warnings)?;
    Ok(open)
}

const PLAIN_IS_LOCAL: &str = "without TLS tokens and secrets would cross the network in plain text, \
    so it is for loopback addresses alone; set `address` to one, as \"127.0.0.1:8200\", or remove \
    `tls_disable` (without `tls_cert_file` the node makes its own certificate)";
pub(super) const EXPECTED: &str = "a block `listener \"tcp\"` with an `address`";
const LISTENERS_MAX: usize = 16;
const ADDRESS_DEFAULT: &str = "127.0.0.1:8200";
const NO_NEXT_PORT: &str = "a port below 65535, or set `cluster_address` too";
/// A request of one value must fit.
const REQUEST_BYTES_MIN: u64 = 64 * 1024;
const REQUEST_BYTES_MAX: u64 = 1 << 30;
/// A 1 MiB value, escaped at the worst, still fits.
const REQUEST_BYTES_DEFAULT: u64 = 8 << 20;
const REQUEST_DURATION_DEFAULT: Duration = Duration::from_secs(90);

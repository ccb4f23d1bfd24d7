//! Addresses and names, validated where they enter.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host (name, IPv4 or IPv6 address) and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    pub(super) const EXPECTED: &'static str = "host:port, as \"127.0.0.1:8200\" or \"[::1]:8200\"";
    pub(super) const EXPECTED_REACHABLE: &'static str =
        "host:port under which other nodes reach this one (not 0.0.0.0 or [::])";

    /// Parses `host:port`; an IPv6 address stands in brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']')?;
                inner.parse::<Ipv6Addr>().ok()?;
                inner.to_owned()
            }
            None => host.to_owned(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        let bracketed = text.starts_with('[');
        let valid = !host.is_empty()
            && host.len() <= HOST_BYTES_MAX
            && host.chars().all(plain)
            && (bracketed || !host.contains(':'));
        valid.then_some(Self { host, port })
    }

    /// Without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// 0 lets the operating system choose.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it says "every interface", which nobody can connect to.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// Whether only this machine can connect to it. `localhost` is that by RFC 6761.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The same host, one port up; port 0 stays 0.
    pub(super) fn next_port(&self) -> Option<Self> {
        let port = if self.port == 0 { 0 } else { self.port.checked_add(1)? };
        Some(Self { host: self.host.clone(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The URL of a node's public listener: `https://host:port` without a path, or `http://…` of a
/// loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAddr {
    address: Address,
    plain: bool,
}

impl ApiAddr {
    pub(super) const EXPECTED: &'static str = "a URL like \"https://node1.example:8200\"";

    /// Parses the URL; without a port it means 8200.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, plain) = match text.strip_prefix("http://") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("https://")?, false),
        };
        let rest = rest.trim_end_matches('/');
        let address = Address::parse(rest).or_else(|| Address::parse(&format!("{rest}:8200")))?;
        let allowed = !address.is_unspecified() && (!plain || address.is_loopback());
        allowed.then_some(Self { address, plain })
    }

    /// The URL of a listener at `address`; `plain` is without TLS.
    pub(super) fn of(address: &Address, plain: bool) -> Self {
        Self { address: address.clone(), plain }
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it is without TLS.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

impl fmt::Display for ApiAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.plain { "http" } else { "https" };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// What people call a node: 1 to 63 letters, digits, `-`, `_` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName(String);

impl NodeName {
    /// For error messages.
    pub const EXPECTED: &'static str = "a name of 1 to 63 letters, digits, `-`, `_` or `.`";

    /// Validates a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let valid = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(plain);
        valid.then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const HOST_BYTES_MAX: usize = 253;
const NAME_BYTES_MAX: usize = 63;

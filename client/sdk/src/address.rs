//! Where a node's public listener is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::Error;

/// `https://host:port`, or `http://host:port` of a loopback address, in one spelling, so that equal
/// places are equal addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
    plain: bool,
}

impl Address {
    /// The host without brackets: what a certificate must name.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.plain { "http" } else { "https" }
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Takes `https://host[:port][/]`, the same without a scheme, and `http://…` of a loopback
    /// address.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let (rest, plain) = match text.strip_prefix("http://") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("https://").unwrap_or(text), false),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: http::uri::Authority =
            rest.parse().map_err(|_| refused(text, "it is not a host and a port"))?;
        if rest.contains('@') {
            return Err(refused(text, "it names a user"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refused(text, "it has no host"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if rest.ends_with(authority.host()) => PORT_DEFAULT,
            None => return Err(refused(text, "its port is not a number below 65536")),
        };
        let host = host.to_ascii_lowercase();
        if plain && !is_loopback(&host) {
            return Err(refused(text, "it has no TLS, which would show the token to the network"));
        }
        Ok(Self { host, port, plain })
    }
}

/// Whether a host is this machine. A name other than `localhost` could be anywhere.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn refused(text: &str, why: &str) -> Error {
    Error::Config {
        message: format!("the address {text:?} cannot be used: {why}; write https://host:8200"),
    }
}

/// The public listener's usual port.
const PORT_DEFAULT: u16 = 8200;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match text.parse::<Address>() {
            Ok(address) => address.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn equal_places_have_one_spelling() {
        for text in ["https://Vault.example:8200/", "vault.example", "https://vault.example"] {
            assert_eq!(read(text), "https://vault.example:8200");
        }
        assert_eq!(read("https://[::1]:9"), "https://[::1]:9");
        assert_eq!(read("127.0.0.1:18200"), "https://127.0.0.1:18200");
    }

    #[test]
    fn without_tls_only_this_machine_is_an_address() {
        for text in ["http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost:8200"] {
            assert_eq!(read(text), text);
        }
        assert_eq!(read("http://127.1.2.3/"), "http://127.1.2.3:8200");
        for text in [
            "http://10.0.0.1:8200",
            "http://localhost.example:8200",
            "http://127.0.0.1.example",
            "http://0.0.0.0:8200",
            "http://127.0.0.1:80@example:8200",
        ] {
            let answer = read(text);
            assert!(answer.starts_with("error: the address"), "{text}: {answer}");
        }
        assert!(read("http://a:1").contains("show the token to the network"));
    }

    #[test]
    fn other_things_are_refused_in_words() {
        for text in
            ["http://a:1", "https://", "https://a:99999", "https://u:p@a:1", "https://a:1/v1", ""]
        {
            assert!(read(text).starts_with("error: the address"), "{text}: {}", read(text));
        }
    }
}

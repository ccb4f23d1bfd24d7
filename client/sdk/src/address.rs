//! Where a node's public listener is.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// `https://host:port`, in one spelling, so that equal places are equal addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The host without brackets: what a certificate must name.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
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
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Takes `https://host[:port][/]`, and the same without a scheme.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.starts_with("http://") {
            return Err(refused(text, "it has no TLS, which would show the token to the network"));
        }
        let rest = text.strip_prefix("https://").unwrap_or(text);
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
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
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
    fn other_things_are_refused_in_words() {
        for text in
            ["http://a:1", "https://", "https://a:99999", "https://u:p@a:1", "https://a:1/v1", ""]
        {
            assert!(read(text).starts_with("error: the address"), "{text}: {}", read(text));
        }
    }
}

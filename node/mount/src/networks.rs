//! Networks that a token works from.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::EngineError;

/// Networks in CIDR notation; none means everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or a single address.
    ///
    /// # Errors
    /// `InvalidRequest` for what is no network.
    pub fn parse(texts: &[String]) -> Result<Self, EngineError> {
        texts.iter().map(|text| parse_one(text)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `address` is in one of them, or there are none. An unknown address is in none.
    #[must_use]
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        // A client that reaches an IPv6 socket by IPv4 is still the IPv4 client.
        let address = address.map(|address| address.to_canonical());
        self.0.is_empty()
            || address.is_some_and(|address| self.0.iter().any(|net| net.contains(&address)))
    }
}

fn parse_one(text: &str) -> Result<IpNet, EngineError> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| single()).map_err(|_| {
        EngineError::invalid(
            "a text is neither an address nor a network; write networks as 10.1.0.0/16",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(nets: &[&str], address: &str) -> bool {
        let nets: Vec<String> = nets.iter().map(|net| (*net).to_owned()).collect();
        Networks::parse(&nets).unwrap().admit(Some(address.parse().unwrap()))
    }

    #[test]
    fn only_addresses_inside_are_admitted() {
        assert!(admits(&[], "1.2.3.4"));
        assert!(admits(&["10.0.0.0/8"], "10.9.9.9") && !admits(&["10.0.0.0/8"], "11.0.0.1"));
        assert!(admits(&["1.1.1.1", "2001:db8::/32"], "2001:db8::5"));
        assert!(admits(&["127.0.0.1/32"], "::ffff:127.0.0.1"), "an IPv4 client of an IPv6 socket");
        assert!(!Networks::parse(&["127.0.0.1".to_owned()]).unwrap().admit(None));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in ["", "x", "10.0.0.0/33", "10.0.0/8", "::/129"] {
            assert!(Networks::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}

//! What a client needs to know at its start.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a [`Client`](crate::Client) is made from. Only `addresses` and, for those with TLS
/// without `danger_accept_invalid_certs`, `ca` must be given.
#[derive(Debug, Clone)]
pub struct Config {
    /// Public listeners of one or more nodes, `https://host:port`; on this machine also
    /// `http://127.0.0.1:port`, without TLS.
    pub addresses: Vec<String>,
    /// The certificate authorities that the nodes' certificates must come from.
    pub ca: Option<CertificateAuthority>,
    /// Sent with every request but those that need none.
    pub token: Option<Token>,
    /// Empty for the root namespace.
    pub namespace: String,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How often a request is sent again, and after which pauses.
    pub retry: RetryLimits,
    /// Which node is asked to read.
    pub read_preference: ReadPreference,
    /// Whether to use the addresses that the cluster itself tells, and so find the leader and
    /// nodes that were added later. Without it only `addresses` are used, and any of them hands
    /// writes on to the leader.
    pub discover: bool,
    /// From an address that the cluster tells to the one to connect to instead, where a proxy or
    /// an address translation stands between. Both are `https://host:port`.
    pub address_overrides: BTreeMap<String, String>,
    /// Whether writes carry a request id, so that they can be sent again after a lost answer. It
    /// costs one session at the cluster for each client. Needs a token.
    pub request_ids: bool,
    /// Connections to each node. More than one pays off at thousands of requests a second.
    pub connections_per_node: usize,
    /// The name that certificates must carry, if it is not the host of the address.
    pub server_name: Option<String>,
    /// Accepts any certificate. **Whoever sits between can then read the token and every secret.**
    pub danger_accept_invalid_certs: bool,
}

impl Config {
    /// The defaults, for a cluster with these nodes.
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            ca: None,
            token: None,
            namespace: String::new(),
            timeouts: Timeouts::default(),
            retry: RetryLimits::default(),
            read_preference: ReadPreference::default(),
            discover: true,
            address_overrides: BTreeMap::new(),
            request_ids: true,
            connections_per_node: 1,
            server_name: None,
            danger_accept_invalid_certs: false,
        }
    }

    /// Trusts the authorities in this PEM text.
    pub fn with_ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(CertificateAuthority::Pem(pem.into()));
        self
    }

    /// Trusts the authorities in this PEM file.
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(CertificateAuthority::File(path.into()));
        self
    }

    /// Acts with this token.
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token::new(token));
        self
    }
}

/// Where the trusted certificates are.
#[derive(Debug, Clone)]
pub enum CertificateAuthority {
    /// PEM text.
    Pem(Vec<u8>),
    /// A file with PEM text.
    File(PathBuf),
}

/// A client token. Its `Debug` says only that there is one.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes the text of a token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS together.
    pub connect: Duration,
    /// One attempt at one node.
    pub attempt: Duration,
    /// A call with all its attempts and pauses.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            attempt: Duration::from_secs(10),
            request: Duration::from_secs(30),
        }
    }
}

/// How often a request is sent again, and after which pauses. A pause doubles from the first to
/// the longest, and each is cut at random by up to its half, so that clients do not march in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// Attempts at one call, the first included.
    pub attempts_max: u32,
    /// After the first failure.
    pub pause_min: Duration,
    /// After many.
    pub pause_max: Duration,
}

impl Default for RetryLimits {
    fn default() -> Self {
        Self {
            attempts_max: 100,
            pause_min: Duration::from_millis(10),
            pause_max: Duration::from_millis(500),
        }
    }
}

/// Which node is asked to read. All answer alike; it is a question of load and distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadPreference {
    /// The leader, where it is known.
    Leader,
    /// Each node in turn.
    #[default]
    Any,
}

/// How fresh data must be. Authority, the token and its policies, is always linearizable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadLevel {
    /// Sees every write that was acknowledged before the request.
    #[default]
    Linearizable,
    /// Sees at least this revision.
    AtRevision(u64),
    /// Whatever the node has.
    Stale,
}

impl ReadLevel {
    pub(crate) fn into_wire(self) -> Option<conclave_proto::v1::ReadLevel> {
        use conclave_proto::v1::read_level::Kind;
        let kind = match self {
            Self::Linearizable => return None,
            Self::AtRevision(revision) => Kind::AtRevision(revision),
            Self::Stale => Kind::Stale(true),
        };
        Some(conclave_proto::v1::ReadLevel { kind: Some(kind) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_token() {
        let config = Config::new(["https://a:1"]).with_token("hvs.canary");
        assert!(!format!("{config:?}").contains("canary"));
    }
}

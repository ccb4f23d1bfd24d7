//! What the doors may take from a caller, and for how long.

use std::time::Duration;

use tokio::sync::Semaphore;

/// The version that `seal-status` and `health` name: clients of the Vault API parse it as strict
/// semver and switch features on by it, so it is the version of the API, with ours as build data.
pub const API_VERSION: &str = concat!("1.17.0+conclave.", env!("CARGO_PKG_VERSION"));

/// What a listener's configuration says of its doors.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The longest body.
    pub request_bytes_max: usize,
    /// The longest backup that is taken. It is never held in memory.
    pub backup_bytes_max: u64,
    /// How long a request may take, from its arrival.
    pub time_limit: Duration,
    /// Whether `sys/metrics` answers without a token.
    pub unauthenticated_metrics: bool,
    /// Whether connections are encrypted, so that HTTP may tell browsers to insist on it.
    pub tls: bool,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            request_bytes_max: 32 << 20,
            backup_bytes_max: 64 << 30,
            time_limit: Duration::from_secs(90),
            unauthenticated_metrics: false,
            tls: true,
        }
    }
}

/// Bounds that nobody needs to configure. Each is refused with a typed error when it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How long a connection may take to send a request's head.
    pub(crate) head_time: Duration,
    /// How long an HTTP/1 connection may wait between an answer and the next request.
    pub(crate) idle_time: Duration,
    /// How long a request may take to send its body.
    pub(crate) body_time: Duration,
    /// Bytes of bodies held at once for all requests together.
    pub(crate) body_bytes_in_flight_max: usize,
    /// Requests served at once.
    pub(crate) requests_in_flight_max: usize,
    /// Streams that one HTTP/2 connection may have open.
    pub(crate) streams_per_connection_max: u32,
}

impl Limits {
    /// The bounds of a node. All bodies together may hold half as much again as the longest one,
    /// which leaves room for others beside it.
    pub(crate) fn of(config: &GatewayConfig) -> Self {
        Self {
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(90),
            body_time: Duration::from_secs(30),
            body_bytes_in_flight_max: config
                .request_bytes_max
                .saturating_add(config.request_bytes_max / 2)
                .min(Semaphore::MAX_PERMITS),
            requests_in_flight_max: 4096,
            streams_per_connection_max: 256,
        }
    }
}

/// The longest head of a request, over all its headers.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;

/// The most header lines of a request.
pub(crate) const HEADERS_MAX: usize = 128;

/// The longest token.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 << 10;

/// What the gateway grants a request beyond its time limit, so that the core's own, better worded
/// error comes first.
pub(crate) const TIME_LIMIT_GRACE: Duration = Duration::from_secs(5);

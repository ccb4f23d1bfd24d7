//! What the doors may take from a caller, and for how long.

use std::time::Duration;

use tokio::sync::Semaphore;

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
    /// How much one JSON body may hold.
    pub json: JsonLimits,
}

/// How much one JSON body may hold, whatever its length. What is above a fixed bound of this crate
/// means that bound: a listener can be stricter than it, never laxer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// The deepest nesting of arrays and objects: Vault's `max_json_depth`, at most 64.
    pub depth_max: usize,
    /// The longest string, be it a value or a key, in bytes: `max_json_string_value_length`.
    pub string_bytes_max: usize,
    /// The most keys of one object: `max_json_object_entry_count`.
    pub object_entries_max: usize,
    /// The most elements of one array: `max_json_array_element_count`.
    pub array_elements_max: usize,
    /// The most keys and values over all levels, at most 20,000: `max_json_token`.
    pub values_max: usize,
    /// The most strings over all levels, keys and values: OpenBao's `max_request_json_strings`.
    pub strings_max: usize,
    /// What the body takes in memory once it is parsed: OpenBao's `max_request_json_memory`.
    pub memory_bytes_max: usize,
}

impl JsonLimits {
    /// The same within the fixed bounds.
    pub(crate) fn bounded(self) -> Self {
        Self {
            depth_max: self.depth_max.min(JSON_DEPTH_MAX),
            values_max: self.values_max.min(JSON_VALUES_MAX),
            ..self
        }
    }
}

/// Vault's, within the fixed bounds, but for strings: one that is too long for a value is answered as
/// such (413) by what keeps the value, so here the memory of the whole body bounds it. `OpenBao` allows 1,000 strings, which is fewer than Vault allows
/// keys to one object; here they count among the values until a listener says otherwise.
impl Default for JsonLimits {
    fn default() -> Self {
        Self {
            depth_max: JSON_DEPTH_MAX,
            string_bytes_max: 32 << 20,
            object_entries_max: 10_000,
            array_elements_max: 10_000,
            values_max: JSON_VALUES_MAX,
            strings_max: JSON_VALUES_MAX,
            memory_bytes_max: (32 << 20) + (512 << 10),
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            request_bytes_max: 32 << 20,
            backup_bytes_max: 64 << 30,
            time_limit: Duration::from_secs(90),
            unauthenticated_metrics: false,
            tls: true,
            json: JsonLimits::default(),
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

/// The deepest JSON: what reads it later goes as deep on the stack.
pub(crate) const JSON_DEPTH_MAX: usize = 64;

/// The most keys and values of one JSON body, over all levels. Audit hashes each.
pub(crate) const JSON_VALUES_MAX: usize = 20_000;

/// The longest token.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 << 10;

/// What the gateway grants a request beyond its time limit, so that the core's own, better worded
/// error comes first.
pub(crate) const TIME_LIMIT_GRACE: Duration = Duration::from_secs(5);

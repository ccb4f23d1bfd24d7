//! Request metrics. Labels are fixed words: a route's template, never a name from a path.

use std::time::Duration;

/// Records one answered request.
pub(crate) fn record(
    door: &'static str,
    method: &'static str,
    route: &'static str,
    status: u16,
    took: Duration,
) {
    let status = status.to_string();
    metrics::counter!(
        "conclave_http_requests_total",
        "door" => door, "method" => method, "route" => route, "status" => status
    )
    .increment(1);
    metrics::histogram!(
        "conclave_http_request_seconds",
        "door" => door, "method" => method, "route" => route
    )
    .record(took.as_secs_f64());
}

/// The template of a canonical path without `/v1/`.
pub(crate) fn route_template(path: &str) -> &'static str {
    if !path.starts_with("sys/") {
        return if path.starts_with("auth/") { "auth" } else { "secret" };
    }
    SYS_ROUTES
        .iter()
        .find(|route| match route.strip_suffix("/*") {
            Some(prefix) => path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')),
            None => path == **route,
        })
        .copied()
        .unwrap_or("sys/other")
}

/// The first that fits counts.
const SYS_ROUTES: [&str; 22] = [
    "sys/health",
    "sys/init",
    "sys/seal-status",
    "sys/unseal",
    "sys/seal",
    "sys/leader",
    "sys/step-down",
    "sys/metrics",
    "sys/mounts",
    "sys/mounts/*",
    "sys/internal/ui/mounts/*",
    "sys/sessions/open",
    "sys/sessions/close",
    "sys/storage/raft/configuration",
    "sys/storage/raft/join",
    "sys/storage/raft/join-token",
    "sys/storage/raft/remove-peer",
    "sys/storage/raft/promote",
    "sys/storage/raft/demote",
    "sys/storage/raft/snapshot",
    "sys/storage/raft/snapshot-force",
    "sys/internal/*",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_a_label() {
        assert_eq!(route_template("sys/health"), "sys/health");
        assert_eq!(route_template("sys/mounts/canary"), "sys/mounts/*");
        assert_eq!(route_template("sys/mountscanary"), "sys/other");
        assert_eq!(route_template("sys/canary"), "sys/other");
        assert_eq!(route_template("auth/canary/login"), "auth");
        assert_eq!(route_template("canary/data/x"), "secret");
    }
}

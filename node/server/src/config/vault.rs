//! Keys of Vault's and OpenBao's configuration files that a node takes and has no use for.
//!
//! Where leaving one without effect matters, the operator is told why. A key whose effect protects
//! something is none of these: it is refused by its own reader, for a node must not start with less
//! protection than its file asks for.

use super::section::Section;

/// A key, and why it matters that it has no effect.
type Ignored = (&'static str, Option<&'static str>);

/// Accepts every key of `table` that is there.
pub(super) fn ignore(section: &mut Section, table: &[Ignored], warnings: &mut Vec<String>) {
    for (key, why) in table {
        section.ignore(key, *why, warnings);
    }
}

pub(super) const ROOT: &[Ignored] = &[
    ("administrative_namespace_path", NOT_THERE),
    ("allow_audit_log_prefixing", Some("set `prefix` of an audit device in this file")),
    ("cache_size", None),
    ("cluster_cipher_suites", Some("nodes speak TLS 1.3 with each other")),
    ("detect_deadlocks", None),
    ("disable_cache", None),
    ("disable_clustering", None),
    ("disable_indexing", None),
    ("disable_mlock", Some("keys are kept in locked memory")),
    ("disable_performance_standby", None),
    ("disable_printable_check", None),
    ("disable_sealwrap", None),
    ("disable_sentinel_trace", None),
    ("disable_ssct", None),
    ("enable_multiseal", NOT_THERE),
    ("enable_response_header_hostname", NOT_THERE),
    ("enable_response_header_raft_node_id", NOT_THERE),
    ("experiments", NOT_THERE),
    ("imprecise_lease_role_tracking", None),
    ("introspection_endpoint", NOT_THERE),
    ("license_path", None),
    ("log_file", LOGS_GO_TO_STDERR),
    ("log_requests_level", Some("requests are in the audit log")),
    ("log_rotate_bytes", None),
    ("log_rotate_duration", None),
    ("log_rotate_max_files", None),
    ("plugin_directory", NO_PLUGINS),
    ("plugin_file_permissions", None),
    ("plugin_file_uid", None),
    ("plugin_tmpdir", None),
    ("raw_storage_endpoint", NOT_THERE),
    ("remove_irrevocable_lease_after", NOT_THERE),
    ("reporting", None),
    ("service_registration", Some("the node registers nowhere")),
    ("ui", Some("this version has no user interface")),
    ("unsafe_allow_api_audit_creation", Some("set audit_api_directory in this file")),
];

pub(super) const LISTENER: &[Ignored] = &[
    ("disable_replication_status_endpoints", None),
    ("disable_unauthed_rekey_endpoints", None),
    ("http_idle_timeout", FIXED_TIMES),
    ("http_read_header_timeout", FIXED_TIMES),
    ("http_read_timeout", FIXED_TIMES),
    ("http_write_timeout", FIXED_TIMES),
    ("inflight_requests_logging", None),
    ("profiling", None),
    ("custom_response_headers", NOT_THERE),
    ("redact_addresses", NOT_THERE),
    ("redact_cluster_name", NOT_THERE),
    ("redact_version", NOT_THERE),
    ("tls_cipher_suites", Some("only suites that are considered safe are offered")),
    ("tls_disable_client_certs", None),
    ("tls_max_version", Some("TLS 1.3 is always offered")),
    ("tls_prefer_server_cipher_suites", None),
    ("x_forwarded_for_authorized_addrs", NO_PROXY_HEADERS),
    ("x_forwarded_for_client_cert_header", NO_PROXY_HEADERS),
    ("x_forwarded_for_client_cert_header_decoders", None),
    ("x_forwarded_for_hop_skips", None),
    ("x_forwarded_for_reject_not_authorized", None),
    ("x_forwarded_for_reject_not_present", None),
];

pub(super) const LISTENER_TELEMETRY: &[Ignored] = &[("disallow_metrics", None)];

pub(super) const RAFT: &[Ignored] = &[
    ("autopilot_reconcile_interval", NO_AUTOPILOT),
    ("autopilot_redundancy_zone", NO_AUTOPILOT),
    ("autopilot_update_interval", NO_AUTOPILOT),
    ("autopilot_upgrade_version", NO_AUTOPILOT),
    ("max_entry_size", Some("a value has at most 1 MiB")),
    ("max_mount_and_namespace_table_entry_size", None),
    ("max_transaction_size", None),
    ("raft_log_verifier_enabled", None),
    ("raft_log_verification_interval", None),
    ("raft_wal", None),
    ("snapshot_interval", Some("snapshots follow the number of entries, snapshot_threshold")),
];

/// Nodes prove themselves to each other by the key that joins them; no certificate is asked for.
pub(super) const RETRY_JOIN: &[Ignored] = &[
    ("leader_ca_cert", None),
    ("leader_ca_cert_file", None),
    ("leader_client_cert", None),
    ("leader_client_cert_file", None),
    ("leader_client_key", None),
    ("leader_client_key_file", None),
    ("leader_tls_servername", None),
];

pub(super) const TELEMETRY: &[Ignored] = &[
    ("add_lease_metrics_namespace_labels", None),
    ("add_mount_point_rollback_metrics", None),
    ("circonus_api_app", NOTHING_IS_SENT),
    ("circonus_api_token", NOTHING_IS_SENT),
    ("circonus_api_url", NOTHING_IS_SENT),
    ("circonus_broker_id", NOTHING_IS_SENT),
    ("circonus_broker_select_tag", NOTHING_IS_SENT),
    ("circonus_check_display_name", NOTHING_IS_SENT),
    ("circonus_check_force_metric_activation", NOTHING_IS_SENT),
    ("circonus_check_id", NOTHING_IS_SENT),
    ("circonus_check_instance_id", NOTHING_IS_SENT),
    ("circonus_check_search_tag", NOTHING_IS_SENT),
    ("circonus_check_tags", NOTHING_IS_SENT),
    ("circonus_submission_interval", NOTHING_IS_SENT),
    ("circonus_submission_url", NOTHING_IS_SENT),
    ("disable_hostname", None),
    ("dogstatsd_addr", NOTHING_IS_SENT),
    ("dogstatsd_tags", NOTHING_IS_SENT),
    ("enable_hostname_label", None),
    ("filter_default", None),
    ("lease_metrics_epsilon", None),
    ("maximum_gauge_cardinality", None),
    ("metrics_prefix", Some("the names of metrics are fixed")),
    ("num_lease_metrics_buckets", None),
    ("prefix_filter", Some("every metric is served")),
    ("prometheus_retention_time", None),
    ("stackdriver_debug_logs", NOTHING_IS_SENT),
    ("stackdriver_location", NOTHING_IS_SENT),
    ("stackdriver_namespace", NOTHING_IS_SENT),
    ("stackdriver_project_id", NOTHING_IS_SENT),
    ("statsd_address", NOTHING_IS_SENT),
    ("statsite_address", NOTHING_IS_SENT),
    ("usage_gauge_period", None),
];

const FIXED_TIMES: Option<&str> = Some("a slow head, body or connection has a fixed bound");
const LOGS_GO_TO_STDERR: Option<&str> = Some("logs go to standard error");
const NO_AUTOPILOT: Option<&str> = Some("this version has no autopilot");
const NO_PLUGINS: Option<&str> = Some("this version has no plugins");
const NO_PROXY_HEADERS: Option<&str> =
    Some("the address of the connection is the caller's, whatever a header says");
const NOTHING_IS_SENT: Option<&str> = Some("metrics are served at sys/metrics and sent nowhere");
const NOT_THERE: Option<&str> = Some("this version does not do that");

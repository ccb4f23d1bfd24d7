//! Golden tests of what a configuration means, warns about and refuses.

use super::*;

mod errors;
mod files;
mod vault;

const MINIMAL: &str = r#"{
    "listener": {"tcp": {"address": "127.0.0.1:8200"}},
    "storage": {"raft": {"path": "data", "node_id": "node-1"}}
}"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/conclave"))
}

#[test]
fn a_minimal_file_gets_every_default() {
    let config = parse(MINIMAL).expect("it is valid");
    assert_eq!(config.cluster_address.to_string(), "127.0.0.1:8201");
    assert_eq!(config.api_addr.to_string(), "https://127.0.0.1:8200");
    assert_eq!(config.cluster_addr.to_string(), "127.0.0.1:8201");
    assert_eq!(config.storage.path, Path::new("/etc/conclave/data"));
    assert_eq!(config.storage.node_name.as_str(), "node-1");
    assert_eq!(config.seal, Seal::Shamir);
    assert!(!config.peer_unseal.allow);
    assert_eq!(config.raft.heartbeat, Duration::from_millis(100));
    assert_eq!(config.raft.election_timeout_max, Duration::from_millis(800));
    assert_eq!(config.log_level, LogLevel::Info);
    assert_eq!(config.storage.space.reserve_bytes, 128 << 20);
    assert_eq!(config.storage.space.data_bytes_max, None);
    assert_eq!(config.storage.scrub_bytes_per_s, 1 << 20);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn a_full_file_is_read_key_by_key() {
    let config = parse(
        r#"{
        "listener": {"tcp": {
            "address": "0.0.0.0:8200", "cluster_address": "0.0.0.0:9201",
            "tls_cert_file": "tls/public.crt", "tls_key_file": "/keys/public.key",
            "tls_min_version": "tls13", "tls_disable": "false",
            "max_request_size": 1048576, "max_request_duration": "30s",
            "telemetry": {"unauthenticated_metrics_access": true}}},
        "storage": {"raft": {
            "path": "/var/lib/conclave", "node_id": "node-2", "performance_multiplier": "2",
            "snapshot_threshold": 500, "trailing_logs": 50,
            "reserve_bytes": 1048576, "data_bytes_max": "1073741824", "scrub_mib_per_s": 0,
            "retry_join": [{"leader_api_addr": "https://node-1:8200"},
                           {"leader_cluster_addr": "https://node-3:9201"}]}},
        "seal": {"static": {"key_file": "seal.key"}},
        "join_secret_file": "join.key", "peer_unseal": {"allow": true},
        "api_addr": "https://node-2", "cluster_addr": "node-2:9201",
        "cluster_name": "prod", "log_level": "debug", "log_format": "json", "pid_file": "pid"
    }"#,
    )
    .expect("it is valid");
    assert_eq!(config.warnings, Vec::<String>::new());
    let [listener] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    let files = listener.tls_files.as_ref().expect("they are named");
    assert_eq!(files.certificate, Path::new("/etc/conclave/tls/public.crt"));
    assert_eq!(files.key, Path::new("/keys/public.key"));
    assert_eq!(listener.tls_version_min, TlsVersion::Tls13);
    assert_eq!(listener.request_bytes_max, 1_048_576);
    assert_eq!(listener.request_duration_max, Duration::from_secs(30));
    assert!(listener.unauthenticated_metrics_access);
    assert_eq!(config.storage.snapshot_entries, 500);
    assert_eq!(config.storage.keep_entries, 50);
    assert_eq!(config.storage.space.reserve_bytes, 1 << 20);
    assert_eq!(config.storage.space.data_bytes_max, Some(1 << 30));
    assert_eq!(config.storage.scrub_bytes_per_s, 0);
    let joins: Vec<_> =
        config.storage.retry_join.iter().map(|j| j.leader_cluster_addr.to_string()).collect();
    assert_eq!(joins, ["node-1:8201", "node-3:9201"]);
    assert_eq!(config.seal, Seal::StaticFile("/etc/conclave/seal.key".into()));
    assert_eq!(config.api_addr.to_string(), "https://node-2:8200");
    assert_eq!(config.cluster_addr.to_string(), "node-2:9201");
    assert_eq!(config.raft.heartbeat, Duration::from_millis(200));
    assert_eq!(config.join_secret_file.as_deref(), Some(Path::new("/etc/conclave/join.key")));
}

#[test]
fn every_shape_of_a_labelled_block_means_the_same() {
    let expected = parse(MINIMAL).expect("it is valid");
    for listener in [
        r#"[{"tcp": {"address": "127.0.0.1:8200"}}]"#,
        r#"{"tcp": [{"address": "127.0.0.1:8200"}]}"#,
        r#"[{"tcp": [{"address": "127.0.0.1:8200"}]}]"#,
    ] {
        let text = format!(
            r#"{{"listener": {listener},
                "storage": [{{"raft": [{{"path": "data", "node_id": "node-1"}}]}}]}}"#
        );
        assert_eq!(parse(&text).expect("it is valid"), expected, "{listener}");
    }
}

#[test]
fn unknown_keys_are_named_with_their_whole_path() {
    let config = parse(
        r#"{
        "nodes": 3,
        "listener": {"tcp": {"address": "127.0.0.1:8200", "colours": "x",
            "tls_client_ca_file": "ca.pem", "telemetry": {"colour": 1}}},
        "storage": {"raft": {"path": "d", "node_id": "n", "retry_join": [
            {"leader_api_addr": "https://a:8200"},
            {"leader_api_addr": "https://b:8200", "flavour": "x"}]}}
    }"#,
    )
    .expect("unknown keys are no error");
    assert_eq!(
        config.warnings,
        [
            "`listener.tcp.tls_client_ca_file` has no effect yet: client certificates are not asked for",
            "unknown key `listener.tcp.telemetry.colour` is ignored",
            "unknown key `listener.tcp.colours` is ignored",
            "unknown key `storage.raft.retry_join[1].flavour` is ignored",
            "unknown key `nodes` is ignored",
        ]
    );
}

#[test]
fn recording_peer_frames_is_warned_about() {
    let text = MINIMAL.replacen('{', r#"{"danger_record_peer_frames": "frames.bin","#, 1);
    let config = parse(&text).expect("it is valid");
    let path = Path::new("/etc/conclave/frames.bin");
    assert_eq!(config.danger_record_peer_frames.as_deref(), Some(path));
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert!(warning.starts_with("`danger_record_peer_frames` is set"), "{warning}");
}

#[test]
fn row_094_no_value_of_a_key_is_repeated_in_an_error() {
    let canary = "canary-3f0a";
    for key in
        ["log_level", "api_addr", "cluster_addr", "seal", "raft", "peer_unseal", "log_format"]
    {
        let text = format!(
            r#"{{"listener": {{"tcp": {{}}}}, "storage": {{"raft": {{"path": "d", "node_id": "n"}}}},
                "{key}": "{canary}"}}"#
        );
        let error = parse(&text).expect_err("the canary is no valid value");
        assert!(!format!("{error} {error:?}").contains(canary), "{error:?}");
    }
}

#[test]
fn addresses_print_as_they_parse() {
    for text in ["127.0.0.1:8200", "[::1]:8201", "node-1.example:1"] {
        assert_eq!(Address::parse(text).expect("it is valid").to_string(), text);
    }
    for text in
        ["", "host", "host:", ":1", "::1:8200", "[::1:8200", "ho st:1", "host:70000", "[x]:1"]
    {
        assert_eq!(Address::parse(text), None, "{text}");
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let error = Config::load(&["/nonexistent/c.json".into()]).expect_err("there is none");
    assert!(error.to_string().contains("/nonexistent/c.json"), "{error}");
}

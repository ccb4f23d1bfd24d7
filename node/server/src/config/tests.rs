//! Golden tests of what a configuration means, warns about and refuses.

use super::*;
use std::time::Duration;

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
    assert_eq!(config.listener.cluster_address.to_string(), "127.0.0.1:8201");
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
    let files = config.listener.tls_files.expect("they are named");
    assert_eq!(files.certificate, Path::new("/etc/conclave/tls/public.crt"));
    assert_eq!(files.key, Path::new("/keys/public.key"));
    assert_eq!(config.listener.tls_version_min, TlsVersion::Tls13);
    assert_eq!(config.listener.request_bytes_max, 1_048_576);
    assert_eq!(config.listener.request_duration_max, Duration::from_secs(30));
    assert!(config.listener.unauthenticated_metrics_access);
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
        "disable_mlock": true, "ui": true,
        "listener": {"tcp": {"address": "127.0.0.1:8200", "proxy_protocol": "x",
            "tls_client_ca_file": "ca.pem", "telemetry": {"colour": 1}}},
        "storage": {"raft": {"path": "d", "node_id": "n", "retry_join": [
            {"leader_api_addr": "https://a:8200"},
            {"leader_api_addr": "https://b:8200", "auto_join": "x"}]}}
    }"#,
    )
    .expect("unknown keys are no error");
    assert_eq!(
        config.warnings,
        [
            "`listener.tcp.tls_client_ca_file` has no effect yet: client certificates are not asked for",
            "unknown key `listener.tcp.telemetry.colour` is ignored",
            "unknown key `listener.tcp.proxy_protocol` is ignored",
            "unknown key `storage.raft.retry_join[1].auto_join` is ignored",
            "unknown key `disable_mlock` is ignored",
            "unknown key `ui` is ignored",
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

/// Which part of a small valid file a golden case replaces.
#[derive(Debug, Clone, Copy)]
enum In {
    Whole,
    Listener,
    Raft,
    Root,
}

impl In {
    fn file(self, extra: &str) -> String {
        let raft = r#""storage": {"raft": {"path": "d", "node_id": "n"}}"#;
        match self {
            Self::Whole => extra.to_owned(),
            Self::Listener => format!(r#"{{"listener": {{"tcp": {{{extra}}}}}, {raft}}}"#),
            Self::Raft => {
                format!(r#"{{"listener": {{"tcp": {{}}}}, "storage": {{"raft": {{{extra}}}}}}}"#)
            }
            Self::Root => format!(r#"{{"listener": {{"tcp": {{}}}}, {raft}, {extra}}}"#),
        }
    }
}

#[test]
fn errors_name_the_key_and_what_it_expects() {
    for (part, extra, expected) in GOLDEN_ERRORS {
        let error = parse(&part.file(extra)).expect_err("it must be refused");
        assert_eq!(error.to_string(), expected, "{part:?} {extra}");
    }
}

const GOLDEN_ERRORS: [(In, &str, &str); 20] = [
    (
        In::Whole,
        "{\n  \"listener\": ,\n}",
        "the configuration is not valid JSON (line 2, column 15); correct it there",
    ),
    (
        In::Whole,
        "[]",
        "`(the whole file)` is wrong; set it to an object: {\"listener\": …, \"storage\": …}",
    ),
    (In::Whole, "{}", "`listener.tcp` is missing; set it to an object with `address`"),
    (
        In::Listener,
        r#""address": "8200""#,
        "`listener.tcp.address` is wrong; set it to host:port, as \"127.0.0.1:8200\" or \"[::1]:8200\"",
    ),
    (
        In::Listener,
        r#""address": 8200"#,
        "`listener.tcp.address` is wrong; set it to a string that is not empty",
    ),
    (
        In::Listener,
        r#""tls_disable": 1"#,
        "`listener.tcp.tls_disable` is wrong; set it to true or false",
    ),
    (
        In::Listener,
        r#""tls_disable": true"#,
        "`listener.tcp.tls_disable` is not supported: secrets do not travel in plain text; remove it \
         (without `tls_cert_file` the node makes its own certificate)",
    ),
    (
        In::Listener,
        r#""tls_cert_file": "c""#,
        "`listener.tcp.tls_key_file` is missing; set it to the path of the certificate's private key",
    ),
    (
        In::Listener,
        r#""max_request_size": 1"#,
        "`listener.tcp.max_request_size` is wrong; set it to a whole number from 65536 to \
         1073741824",
    ),
    (
        In::Listener,
        r#""max_request_duration": "5 days""#,
        "`listener.tcp.max_request_duration` is wrong; set it to a duration like \"90s\", \
         \"500ms\", \"2m\" or \"1h\"",
    ),
    (
        In::Listener,
        r#""address": "0.0.0.0:8200""#,
        "`api_addr` is missing; set it to the URL under which clients reach this node, as \
         https://host:8200 (the listener has no address to derive it from)",
    ),
    (
        In::Raft,
        r#""node_id": "n""#,
        "`storage.raft.path` is missing; set it to the path of the data directory",
    ),
    (
        In::Raft,
        r#""path": "d", "node_id": "a/b""#,
        "`storage.raft.node_id` is wrong; set it to a name of 1 to 63 letters, digits, `-`, `_` or \
         `.`",
    ),
    (
        In::Raft,
        r#""path": "d", "node_id": "n", "retry_join": [{}]"#,
        "`storage.raft.retry_join.leader_cluster_addr` is missing; set it to host:port of that \
         node's cluster listener",
    ),
    (
        In::Root,
        r#""api_addr": "http://plain:8200""#,
        "`api_addr` is wrong; set it to a URL like \"https://node1.example:8200\"",
    ),
    (
        In::Root,
        r#""cluster_addr": "0.0.0.0:8201""#,
        "`cluster_addr` is wrong; set it to host:port under which other nodes reach this one (not \
         0.0.0.0 or [::])",
    ),
    (
        In::Root,
        r#""seal": {"awskms": {}}"#,
        "`seal.awskms` is not supported: this version knows the seals \"shamir\" and \"static\"; use \
         one of them",
    ),
    (
        In::Root,
        r#""seal": {"static": {}}"#,
        "`seal.static.key_file` is missing; set it to the path of the key's file, or set `key_env` \
         to the name of a variable",
    ),
    (
        In::Root,
        r#""log_level": "loud""#,
        "`log_level` is wrong; set it to one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
    ),
    (
        In::Root,
        r#""raft": {"heartbeat_ms": 300}"#,
        "`raft.election_timeout_ms_min` is wrong; set it to at least twice `heartbeat_ms`",
    ),
];

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
    let error = Config::load(Path::new("/nonexistent/c.json")).expect_err("there is none");
    assert!(error.to_string().contains("/nonexistent/c.json"), "{error}");
}

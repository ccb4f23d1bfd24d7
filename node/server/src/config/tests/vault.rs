//! A configuration as people have it for Vault, taken apart.

use conclave_gateway::JsonLimits;

use super::*;
use crate::audit::Target;

/// What people write for Raft storage, all together.
const FULL: &str = r#"
# The cluster of the example.
ui                = true
disable_mlock     = true
cluster_name      = "prod-eu"
api_addr          = "https://vault-2.example.com:8200"
cluster_addr      = "https://vault-2.internal:8201"
log_level         = "warn"
log_format        = "json"
pid_file          = "/run/vault/vault.pid"
default_lease_ttl = "768h"
max_lease_ttl     = 2764800
plugin_directory  = ""

listener "tcp" {
  address            = "0.0.0.0:8200"
  cluster_address    = "0.0.0.0:8201"
  tls_cert_file      = "tls/vault.crt"
  tls_key_file       = "/etc/keys/vault.key"
  tls_min_version    = "tls13"
  tls_disable        = "false"
  max_request_size   = 33554432
  max_request_duration = "1m30s"
  max_json_depth                = 32
  max_json_string_value_length  = "65536"
  max_json_object_entry_count   = 500
  max_json_array_element_count  = 0
  max_request_json_strings      = 1000
  telemetry {
    unauthenticated_metrics_access = true
  }
}

// The agent on this machine.
listener "tcp" {
  address     = "127.0.0.1:8300"
  tls_disable = true
}

storage "raft" {
  path                   = "/opt/vault/data"
  node_id                = "vault-2"
  performance_multiplier = "5"
  snapshot_threshold     = 8192
  trailing_logs          = 0x2710
  autopilot_reconcile_interval = "10s"

  retry_join {
    leader_api_addr         = "https://vault-1.example.com:8200"
    leader_tls_servername   = "vault-1.example.com"
    leader_ca_cert_file     = "tls/ca.crt"
    leader_client_cert_file = "tls/client.crt"
    leader_client_key_file  = "tls/client.key"
  }
  retry_join {
    leader_api_addr = "https://vault-3.example.com:9300"
  }
}

seal "static" {
  key_file = "seal.key"
}

audit "file" {
  options {
    file_path = "/var/log/vault/audit.log"
    mode      = 0640
  }
}

audit "file" "second" {
  description = "with paths hashed"
  options = {
    file_path  = "second.log"
    hash_paths = "true"
  }
}

telemetry {
  prometheus_retention_time = "30s"
  disable_hostname          = true
  statsd_address            = "127.0.0.1:8125"
}
"#;

#[test]
fn a_full_configuration_of_vault_is_read_key_by_key() {
    let config = parse(FULL).expect("it is valid");
    assert_eq!(
        config.warnings,
        [
            "`disable_mlock` has no effect: keys are kept in locked memory",
            "`ui` has no effect: this version has no user interface",
            "`storage.raft.autopilot_reconcile_interval` has no effect: this version has no autopilot",
            "`telemetry.statsd_address` has no effect: metrics are served at sys/metrics and sent nowhere",
        ]
    );
    assert_eq!(config.cluster_name, "prod-eu");
    assert_eq!(config.api_addr.to_string(), "https://vault-2.example.com:8200");
    assert_eq!(config.cluster_addr.to_string(), "vault-2.internal:8201");
    assert_eq!(config.cluster_address.to_string(), "0.0.0.0:8201");
    assert_eq!(config.log_level, LogLevel::Warn);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.pid_file.as_deref(), Some(Path::new("/run/vault/vault.pid")));
    assert_eq!(config.seal, Seal::StaticFile("/etc/conclave/seal.key".into()));
    assert_eq!(config.raft.heartbeat, Duration::from_millis(500));

    let [public, local] = config.listeners.as_slice() else { panic!("two listeners") };
    let files = public.tls_files.as_ref().expect("they are named");
    assert_eq!(files.certificate, Path::new("/etc/conclave/tls/vault.crt"));
    assert_eq!(files.key, Path::new("/etc/keys/vault.key"));
    assert_eq!(public.tls_version_min, TlsVersion::Tls13);
    assert_eq!(public.request_bytes_max, 32 << 20);
    assert_eq!(public.request_duration_max, Duration::from_secs(90));
    let json = JsonLimits {
        depth_max: 32,
        string_bytes_max: 65_536,
        object_entries_max: 500,
        strings_max: 1_000,
        ..JsonLimits::default()
    };
    assert_eq!((public.json, local.json), (json, JsonLimits::default()));
    assert!(public.unauthenticated_metrics_access && !public.plain);
    assert_eq!(local.address.to_string(), "127.0.0.1:8300");
    assert!(local.plain && local.tls_files.is_none());

    let storage = &config.storage;
    assert_eq!(storage.path, Path::new("/opt/vault/data"));
    assert_eq!(storage.node_name.as_str(), "vault-2");
    assert_eq!((storage.snapshot_entries, storage.keep_entries), (8192, 10_000));
    let [first, second] = storage.retry_join.as_slice() else { panic!("two nodes") };
    assert_eq!(first.leader_cluster_addr.to_string(), "vault-1.example.com:8201");
    assert_eq!(second.leader_cluster_addr.to_string(), "vault-3.example.com:9301");

    let [file, hashed] = config.audit.devices.as_slice() else { panic!("two devices") };
    let path = PathBuf::from("/var/log/vault/audit.log");
    assert_eq!(file.target, Target::File { path, mode: 0o640 });
    assert_eq!((file.device.path.as_str(), hashed.device.path.as_str()), ("file/", "second/"));
    let path = PathBuf::from("/etc/conclave/second.log");
    assert_eq!(hashed.target, Target::File { path, mode: 0o600 });
    assert!(hashed.device.hash_paths && !file.device.hash_paths);
}

#[test]
fn the_same_in_json_means_the_same() {
    let hcl = parse(
        r#"
        listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }
        storage "raft" {
          path = "data" node_id = "node-1"
          retry_join { leader_api_addr = "https://a:8200" }
          retry_join { leader_api_addr = "https://b:8200" }
        }
        audit "file" "one" { options { file_path = "audit.log" } }"#,
    );
    let json = parse(
        r#"{
        "listener": {"tcp": {"address": "127.0.0.1:8200", "tls_disable": true}},
        "storage": {"raft": {"path": "data", "node_id": "node-1", "retry_join": [
            {"leader_api_addr": "https://a:8200"}, {"leader_api_addr": "https://b:8200"}]}},
        "audit": {"file": {"one": {"options": {"file_path": "audit.log"}}}}}"#,
    );
    let hcl = hcl.expect("it is valid");
    assert_eq!(hcl, json.expect("it is valid"));
    assert_eq!(hcl.api_addr.to_string(), "http://127.0.0.1:8200");
}

#[test]
fn what_protects_is_refused_where_it_cannot_be_had() {
    for line in [
        "tls_require_and_verify_client_cert = true",
        "proxy_protocol_behavior = \"use_always\"",
        "chroot_namespace = \"team\"",
    ] {
        let text = format!(
            "listener \"tcp\" {{\n {line}\n}}\nstorage \"raft\" {{ path = \"d\" node_id = \"n\" }}"
        );
        let error = parse(&text).expect_err(line).to_string();
        assert!(error.starts_with("configuration:2:2: `listener.tcp."), "{error}");
        assert!(error.contains("is not supported"), "{error}");
    }
}

#[test]
fn durations_are_read_as_vault_writes_them() {
    for (text, seconds) in
        [("90", 90), ("\"90\"", 90), ("\"90s\"", 90), ("\"1m30s\"", 90), ("\"1d\"", 86_400)]
    {
        let text = format!(
            "listener \"tcp\" {{ max_request_duration = {text} }}
             storage \"raft\" {{ path = \"d\" node_id = \"n\" }}"
        );
        let config = parse(&text).expect(&text);
        assert_eq!(config.listeners[0].request_duration_max, Duration::from_secs(seconds));
    }
}

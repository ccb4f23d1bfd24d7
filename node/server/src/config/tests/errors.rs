//! One golden case for each error.

use super::*;

/// A small valid file with `extra` inside one of its blocks. Line 2 is `extra`'s first.
#[derive(Debug, Clone, Copy)]
enum In {
    Whole,
    Listener,
    Raft,
    Root,
}

impl In {
    fn file(self, extra: &str) -> String {
        const RAFT: &str = "storage \"raft\" { path = \"d\" node_id = \"n\" }";
        match self {
            Self::Whole => extra.to_owned(),
            Self::Listener => format!("listener \"tcp\" {{\n{extra}\n}}\n{RAFT}"),
            Self::Raft => format!("storage \"raft\" {{\n{extra}\n}}\nlistener \"tcp\" {{}}"),
            Self::Root => format!("listener \"tcp\" {{}}\n{extra}\n{RAFT}"),
        }
    }
}

#[test]
fn errors_name_place_and_key_and_what_it_expects() {
    for (part, extra, expected) in GOLDEN {
        let error = parse(&part.file(extra)).expect_err("it must be refused");
        assert_eq!(error.to_string(), format!("configuration{expected}"), "{part:?} {extra}");
    }
}

#[test]
fn every_key_that_is_taken_without_effect_is_taken() {
    for (part, table) in [
        (In::Root, super::super::vault::ROOT),
        (In::Listener, super::super::vault::LISTENER),
        (In::Raft, super::super::vault::RAFT),
    ] {
        let raft = if matches!(part, In::Raft) { "path = \"d\" node_id = \"n\"\n" } else { "" };
        for (key, why) in table {
            let config = parse(&part.file(&format!("{raft}{key} = true"))).expect(key);
            assert_eq!(config.warnings.len(), usize::from(why.is_some()), "{key}");
            let config = parse(&part.file(&format!("{raft}{key} = false"))).expect(key);
            assert_eq!(config.warnings, Vec::<String>::new(), "{key} asks for nothing");
        }
    }
}

const GOLDEN: [(In, &str, &str); 33] = [
    (In::Whole, "{\n  \"listener\": ,\n}", ":2:15: expected a value, found something else"),
    (In::Whole, "listener \"tcp\" {\n  address = \n}", ":3:1: expected a value, found '}'"),
    (In::Whole, "[]", ":1:1: expected a key, found '['"),
    (
        In::Whole,
        "",
        ": `listener` is missing; set it to a block `listener \"tcp\"` with an `address`",
    ),
    (
        In::Whole,
        "listener \"tcp\" {}",
        ": `storage` is missing; set it to a block `storage \"raft\"` with `path` and `node_id`",
    ),
    (In::Whole, "listner \"tcp\" {}", ":1:1: unknown key `listner`; did you mean `listener`?"),
    (In::Root, "aip_addr = \"x\"", ":2:1: unknown key `aip_addr`; did you mean `api_addr`?"),
    (
        In::Root,
        "colour = \"x\"",
        ":2:1: unknown key `colour`; remove it, or look up how it is spelled",
    ),
    (
        In::Root,
        "log_level = \"warn\" log_level = \"info\"",
        ":2:20: `log_level` is given again, after configuration:2:1; keep one of them",
    ),
    (
        In::Root,
        "listener \"unix\" { address = \"/run/x\" }",
        ":2:10: `listener[1].unix` is not supported: listeners are of type \"tcp\"; use that",
    ),
    (
        In::Listener,
        "address = \"8200\"",
        ":2:1: `listener.tcp.address` is wrong; set it to host:port, as \"127.0.0.1:8200\" or \
         \"[::1]:8200\"",
    ),
    (In::Listener, "address = 8200", ":2:1: `listener.tcp.address` is wrong; set it to a string"),
    (
        In::Listener,
        "address = \"127.0.0.1:65535\"",
        ":2:1: `listener.tcp.address` is wrong; set it to a port below 65535, or set \
         `cluster_address` too",
    ),
    (
        In::Listener,
        "tls_disable = 7",
        ":2:1: `listener.tcp.tls_disable` is wrong; set it to true or false",
    ),
    (
        In::Listener,
        "address = \"0.0.0.0:8200\"\ntls_disable = true",
        ":3:1: `listener.tcp.tls_disable` is not supported: without TLS tokens and secrets would \
         cross the network in plain text, so it is for loopback addresses alone; set `address` to \
         one, as \"127.0.0.1:8200\", or remove `tls_disable` (without `tls_cert_file` the node \
         makes its own certificate)",
    ),
    (
        In::Listener,
        "tls_cert_file = \"c\"",
        ":1:10: `listener.tcp.tls_key_file` is missing; set it to the path of the certificate's \
         private key",
    ),
    (
        In::Listener,
        "tls_cert_file = \"c\"\ntls_keyfile = \"k\"",
        ":3:1: unknown key `listener.tcp.tls_keyfile`; did you mean `tls_key_file`?",
    ),
    (
        In::Listener,
        "max_request_size = 1",
        ":2:1: `listener.tcp.max_request_size` is wrong; set it to a whole number from 65536 to \
         1073741824",
    ),
    (
        In::Listener,
        "max_request_duration = \"5 days\"",
        ":2:1: `listener.tcp.max_request_duration` is wrong; set it to a duration like \"90s\", \
         \"500ms\", \"2m\" or \"1h\"",
    ),
    (
        In::Listener,
        "address = \"0.0.0.0:8200\"",
        ": `api_addr` is missing; set it to the URL under which clients reach this node, as \
         https://host:8200 (the listener has no address to derive it from)",
    ),
    (
        In::Raft,
        "node_id = \"n\"",
        ":1:9: `storage.raft.path` is missing; set it to the path of the data directory",
    ),
    (
        In::Raft,
        "path = \"d\"\nnode_id = \"a/b\"",
        ":3:1: `storage.raft.node_id` is wrong; set it to a name of 1 to 63 letters, digits, `-`, \
         `_` or `.`",
    ),
    (
        In::Raft,
        "path = \"d\" node_id = \"n\"\nretry_join {}",
        ":3:1: `storage.raft.retry_join.leader_api_addr` is missing; set it to that node's URL, as \
         https://node1:8200",
    ),
    (
        In::Raft,
        "path = \"d\" node_id = \"n\"\nretry_join { auto_join = \"provider=aws\" }",
        ":3:14: `storage.raft.retry_join.auto_join` is not supported: nodes are not looked for at \
         cloud providers; name each as `leader_api_addr`",
    ),
    (
        In::Root,
        "api_addr = \"http://plain:8200\"",
        ":2:1: `api_addr` is wrong; set it to a URL like \"https://node1.example:8200\"",
    ),
    (
        In::Root,
        "api_addr = \"http://127.0.0.1:8200\"",
        ":2:1: `api_addr` is wrong; set it to a URL like \"https://node1.example:8200\"",
    ),
    (
        In::Root,
        "cluster_addr = \"0.0.0.0:8201\"",
        ":2:1: `cluster_addr` is wrong; set it to host:port under which other nodes reach this one \
         (not 0.0.0.0 or [::])",
    ),
    (
        In::Root,
        "seal \"awskms\" { region = \"eu\" }",
        ":2:6: `seal.awskms` is not supported: this version knows the seals \"shamir\" and \
         \"static\"; use one of them",
    ),
    (
        In::Root,
        "seal \"static\" {}",
        ":2:6: `seal.static.key_file` is missing; set it to the path of the key's file, or set \
         `key_env` to the name of a variable",
    ),
    (
        In::Root,
        "audit \"file\" { options { file_path = \"a\" hmac_acessor = false } }",
        ":2:16: `audit.file.options` is wrong; set it to options that this type of device has",
    ),
    (
        In::Root,
        "log_level = \"loud\"",
        ":2:1: `log_level` is wrong; set it to one of \"error\", \"warn\", \"info\", \"debug\", \
         \"trace\"",
    ),
    (
        In::Root,
        "raft { heartbeat_ms = 300 }",
        ":2:1: `raft.election_timeout_ms_min` is wrong; set it to at least twice `heartbeat_ms`",
    ),
    (
        In::Root,
        "telemetry { statsd_adress = \"x\" }",
        ":2:13: unknown key `telemetry.statsd_adress`; did you mean `statsd_address`?",
    ),
];

//! The import table of DESIGN §2: which of our packages may name which.

use serde_json::Value;

use super::{own_packages, text};

/// Package → the packages of ours that it may depend on. `conclave-ports` is open to every node
/// package. Development dependencies are not edges: a test may stand anywhere.
const TABLE: &[(&str, &[&str])] = &[
    ("conclave-proto", &[]),
    ("conclave-ports", &[]),
    ("conclave-hcl", &[]),
    ("conclave-memory", &[]),
    ("conclave-store", &["proto"]),
    ("conclave-raft", &["proto", "store"]),
    ("conclave-barrier", &["memory"]),
    ("conclave-seal", &["barrier", "memory"]),
    ("conclave-mount", &[]),
    ("conclave-engines", &["mount"]),
    ("conclave-auth", &["mount"]),
    ("conclave-core", &["mount", "barrier", "memory", "hcl"]),
    ("conclave-gateway", &["core", "proto"]),
    (
        "conclave-server",
        &[
            "proto", "store", "raft", "memory", "barrier", "seal", "mount", "engines", "auth",
            "core", "gateway", "hcl",
        ],
    ),
    (
        "conclave-sim",
        &[
            "proto", "store", "raft", "memory", "barrier", "seal", "mount", "engines", "auth",
            "core", "gateway", "server",
        ],
    ),
    ("conclave-sdk", &["proto"]),
    ("conclave-cli", &["sdk", "hcl"]),
    ("conclave-jepsen", &["sdk"]),
    (
        "conclave-benches",
        &["sdk", "proto", "store", "raft", "memory", "barrier", "seal", "mount", "engines", "core"],
    ),
    ("xtask", &[]),
];

/// Reports edges outside the table, and packages the table does not know.
pub(super) fn check(metadata: &Value, breaches: &mut Vec<String>) {
    for package in own_packages(metadata) {
        let name = text(package, "name");
        let Some((_, allowed)) = TABLE.iter().find(|(known, _)| *known == name) else {
            breaches.push(format!("{name} is not in the import table"));
            continue;
        };
        let in_node = text(package, "manifest_path").contains("/node/");
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = text(dependency, "name");
            let Some(short) = target.strip_prefix("conclave-") else { continue };
            let is_test = text(dependency, "kind") == "dev";
            let is_port = in_node && short == "ports";
            if !is_test && !is_port && !allowed.contains(&short) {
                breaches.push(format!("{name} may not import {target}"));
            }
        }
    }
}

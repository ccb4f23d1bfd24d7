//! What may come in from outside: licences, banned crates, version floors, one version of the crates
//! that must be one.

use serde_json::Value;

use super::{packages, text};

/// Licences a dependency may offer; one alternative of its expression is enough.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "0BSD",
    "Unlicense",
    "MIT-0",
    "Apache-2.0 WITH LLVM-exception",
    "CDLA-Permissive-2.0",
    "OpenSSL",
];

/// Crate and why it must not come in. `fxhash` and `instant`, unmaintained, come with sled 0.34 and
/// are tolerated: decision note 0002 says why, and when they go.
const BANNED: &[(&str, &str)] = &[
    ("rsa", "RUSTSEC-2023-0071: timing of RSA decryption"),
    ("sharks", "RUSTSEC-2024-0398: biased coefficients"),
    ("openssl", "one TLS library"),
    ("openssl-sys", "one TLS library"),
    ("native-tls", "one TLS library"),
    ("atty", "unmaintained"),
    ("serde_yaml", "unmaintained"),
    ("prometheus", "metrics is the one metrics library"),
];

/// Crate and the lowest version without a known vulnerability (THREATS P9).
const FLOORS: &[(&str, (u64, u64, u64))] = &[
    ("rustls", (0, 23, 46)),
    ("rustls-webpki", (0, 103, 13)),
    ("h2", (0, 4, 16)),
    ("tonic", (0, 12, 3)),
    ("ring", (0, 17, 12)),
    ("openraft", (0, 10, 0)),
];

/// Two versions of these in one program would be two runtimes, two wires or two TLS stacks.
const SINGLE: &[&str] = &["rustls", "hyper", "tokio", "prost", "tonic", "ring", "openraft"];

const PACKAGES_MAX: usize = 400;

/// Reports every breach.
pub(super) fn check(metadata: &Value, breaches: &mut Vec<String>) {
    let foreign: Vec<_> = packages(metadata).filter(|p| !p["source"].is_null()).collect();
    if foreign.len() > PACKAGES_MAX {
        breaches
            .push(format!("{} packages in the lock file, at most {PACKAGES_MAX}", foreign.len()));
    }
    for package in &foreign {
        check_licence(package, breaches);
        check_bans_and_floors(package, breaches);
    }
    for name in SINGLE {
        let versions: Vec<_> = foreign.iter().filter(|p| text(p, "name") == *name).collect();
        if versions.len() > 1 {
            breaches.push(format!("{name} is there in {} versions", versions.len()));
        }
    }
    check_one_tls_provider(metadata, breaches);
}

fn check_licence(package: &Value, breaches: &mut Vec<String>) {
    let expression = text(package, "license").replace('/', " OR ");
    let acceptable = expression.split(" OR ").any(|alternative| {
        alternative
            .split(" AND ")
            .all(|term| LICENCES.contains(&term.trim_matches(|c| c == '(' || c == ')' || c == ' ')))
    });
    if !acceptable {
        breaches.push(format!("{} has the licence {expression:?}", text(package, "name")));
    }
}

fn check_bans_and_floors(package: &Value, breaches: &mut Vec<String>) {
    let (name, version) = (text(package, "name"), text(package, "version"));
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        breaches.push(format!("{name} is banned: {why}"));
    }
    if let Some((_, floor)) = FLOORS.iter().find(|(known, _)| *known == name)
        && numbers(version) < *floor
    {
        breaches.push(format!("{name} {version} is below its floor {floor:?}"));
    }
}

fn numbers(version: &str) -> (u64, u64, u64) {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// rustls panics at its first use where two providers are compiled in and none is chosen.
fn check_one_tls_provider(metadata: &Value, breaches: &mut Vec<String>) {
    let nodes = metadata["resolve"]["nodes"].as_array();
    for node in nodes.into_iter().flatten() {
        let is_rustls = text(node, "id").contains("#rustls@");
        let has_ring = node["features"].as_array().into_iter().flatten().any(|f| f == "ring");
        if is_rustls && has_ring {
            breaches.push("rustls has the feature ring; aws_lc_rs is its one provider".into());
        }
    }
}

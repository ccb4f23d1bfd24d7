//! Rows about bodies: 49, 55, 57.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::door::Request;
use super::{Caller, Cell};
use crate::pace;

/// CVE-2025-6203: deep and wide JSON. What it costs is measured where the parser stands.
pub(super) async fn row_049_hostile_json_is_refused(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let path = format!("{mount}/data/x");
    let keys =
        |count: usize| (0..count).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",");
    let bodies = [
        ("arrays in arrays", format!("{{\"data\":{}", "[".repeat(100_000))),
        ("objects in objects", "{\"data\":".repeat(100_000)),
        ("closed arrays", format!("{{\"data\":{}{}}}", "[".repeat(5000), "]".repeat(5000))),
        ("many keys", format!("{{\"data\":{{{}}}}}", keys(1_000_000))),
        ("a doubled key", r#"{"data":{"a":1,"a":2}}"#.to_owned()),
        ("a doubled key, once escaped", r#"{"data":{},"d\u0061ta":{}}"#.to_owned()),
        ("a long number", format!("{{\"data\":{{\"n\":{}}}}}", "9".repeat(10 << 20))),
        ("a great exponent", r#"{"data":{"n":1e999999}}"#.to_owned()),
        ("many escapes", format!("{{\"data\":[{}]}}", vec!["\"\\u0061\\\\\""; 100_000].join(","))),
        ("half a pair", r#"{"data":{"a":"\ud800"}}"#.to_owned()),
        ("two values", r#"{"data":{}}{"data":{}}"#.to_owned()),
        ("an array", "[{\"data\":{}}]".to_owned()),
        ("null", "null".to_owned()),
    ];
    for (what, body) in &bodies {
        for caller in [cell.root(), cell.nobody()] {
            let begun = pace::now();
            let tried = caller.call("POST", &path, &[], body.as_bytes()).await?;
            tried.is(&[400, 413], what)?;
            ensure!(begun.elapsed() < ANSWER_MAX, "{what} took {:?}", begun.elapsed());
        }
    }
    for door in &cell.nodes {
        cell.root().at(door).get(&path).await?.is(&[404], "nothing of it was stored")?;
    }
    Ok(())
}

/// OpenBao GH-512, GH-887: a wrong type ended the process. Each field of these routes gets each type.
pub(super) async fn row_055_wrong_types_make_no_server_error(cell: &Cell) -> anyhow::Result<()> {
    let (kv, up) = (cell.kv().await?, cell.userpass().await?);
    cell.user(&up, "known", json!({"password": "right"})).await?;
    cell.put(&format!("{kv}/data/known"), json!({})).await?;
    let routes = routes(cell, &kv, &up);
    let mut session = cell.node.session().await?;
    let root = cell.root();
    for (path, fields) in &routes {
        for field in *fields {
            for wrong in wrong_values() {
                let target = format!("/v1/{path}");
                let mut body = base(path, &kv);
                body[*field] = wrong;
                let body = body.to_string();
                let request = Request {
                    method: "POST",
                    target: &target,
                    token: &root.token,
                    headers: &[],
                    body: body.as_bytes(),
                };
                let reply = session.ask(&request).await?;
                let what = format!("{path} with {}", &body[..body.len().min(60)]);
                ensure!(reply.status < 500, "{what}: {reply}");
            }
        }
    }
    still_serves(&root, &kv).await
}

async fn still_serves(root: &Caller, kv: &str) -> anyhow::Result<()> {
    let put = root.post(&format!("{kv}/data/last"), &json!({"data": {"a": 1}})).await?;
    put.is(&[200, 400], "a write afterwards, unless the mount now asks for a version")?;
    root.get("sys/mounts").await?.is(&[200], "a read afterwards")?;
    Ok(())
}

/// What goes along with a wrong field, so that a body that is taken all the same disturbs nobody: a
/// quota without a path is one for everything.
fn base(path: &str, kv: &str) -> Value {
    if path.contains("quotas") { json!({"path": format!("{kv}/fuzz/")}) } else { json!({}) }
}

fn wrong_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(7),
        json!(-1),
        json!(1.5e300),
        json!(true),
        json!([1, null, {"a": []}]),
        json!({"a": {"b": [null]}}),
        json!("x".repeat(5000)),
    ]
}

type Routes = Vec<(String, &'static [&'static str])>;

/// Routes of this cell's own objects, with the fields that they document.
fn routes(cell: &Cell, kv: &str, up: &str) -> Routes {
    [routes_of_mounts(kv, up), routes_of_tokens(cell), routes_of_system(cell, kv, up)].concat()
}

fn routes_of_mounts(kv: &str, up: &str) -> Routes {
    vec![
        (format!("{kv}/data/known"), &["data", "options"]),
        (format!("{kv}/delete/known"), &["versions"]),
        (format!("{kv}/undelete/known"), &["versions"]),
        (format!("{kv}/destroy/known"), &["versions"]),
        (
            format!("{kv}/metadata/known"),
            &["max_versions", "cas_required", "delete_version_after", "custom_metadata"],
        ),
        (format!("{kv}/config"), &["max_versions", "cas_required", "delete_version_after"]),
        (format!("{kv}/move/known"), &["to", "destination", "mount"]),
        (format!("{kv}/copy/known"), &["to", "destination", "mount"]),
        (format!("auth/{up}/login/known"), &["password"]),
        (
            format!("auth/{up}/users/other"),
            &[
                "password",
                "password_hash",
                "policies",
                "token_policies",
                "token_ttl",
                "token_max_ttl",
                "token_bound_cidrs",
                "token_num_uses",
                "token_period",
                "token_type",
            ],
        ),
        (format!("auth/{up}/users/known/password"), &["password", "password_hash"]),
        (format!("auth/{up}/users/known/policies"), &["policies", "token_policies"]),
    ]
}

fn routes_of_tokens(cell: &Cell) -> Routes {
    vec![
        // These tokens all end with the cluster.
        ("auth/token/create".into(), &TOKEN_FIELDS),
        (
            format!("auth/token/roles/{}", cell.named("fuzz")),
            &[
                "allowed_policies",
                "disallowed_policies",
                "allowed_policies_glob",
                "orphan",
                "renewable",
                "path_suffix",
                "token_explicit_max_ttl",
                "token_period",
                "token_type",
                "token_bound_cidrs",
                "token_num_uses",
                "allowed_entity_aliases",
            ],
        ),
        ("auth/token/lookup".into(), &["token"]),
        ("auth/token/lookup-accessor".into(), &["accessor"]),
        ("auth/token/revoke".into(), &["token"]),
        ("auth/token/revoke-accessor".into(), &["accessor"]),
        ("auth/token/revoke-orphan".into(), &["token"]),
        ("auth/token/renew".into(), &["token", "increment"]),
        ("auth/token/renew-accessor".into(), &["accessor", "increment"]),
    ]
}

fn routes_of_system(cell: &Cell, kv: &str, up: &str) -> Routes {
    let own = |path: &str| format!("{path}/{}", cell.named("fuzz"));
    vec![
        (own("sys/mounts"), &["type", "options", "config", "description", "local"]),
        (
            format!("sys/mounts/{kv}/tune"),
            &["default_lease_ttl", "max_lease_ttl", "listing_visibility", "options", "description"],
        ),
        (format!("sys/auth/{up}/tune"), &["token_type", "user_lockout_config", "max_lease_ttl"]),
        (own("sys/policies/acl"), &["policy", "rules"]),
        (own("sys/policies/password"), &["policy"]),
        ("sys/policies/lint".into(), &["policy"]),
        ("sys/policies/explain".into(), &["token", "policies", "path", "operation"]),
        ("sys/capabilities".into(), &["token", "path", "paths"]),
        ("sys/capabilities-self".into(), &["path", "paths"]),
        ("sys/capabilities-accessor".into(), &["accessor", "path", "paths"]),
        ("sys/remount".into(), &["from", "to"]),
        (own("sys/audit"), &["type", "options", "description"]),
        ("sys/audit-hash/file".into(), &["input"]),
        (
            own("sys/quotas/rate-limit"),
            &["rate", "interval", "block_interval", "role", "inheritable"],
        ),
        (own("sys/config/auditing/request-headers"), &["hmac"]),
        ("sys/storage/raft/remove-peer".into(), &["server_id"]),
        ("sys/storage/raft/join".into(), &["join_token", "leader_api_addr", "non_voter"]),
        ("sys/unseal".into(), &["key", "reset"]),
        ("sys/init".into(), &["secret_shares", "secret_threshold", "pgp_keys"]),
        ("sys/generate-root/update".into(), &["key", "nonce"]),
        ("sys/rekey/update".into(), &["key", "nonce"]),
    ]
}

const TOKEN_FIELDS: [&str; 13] = [
    "id",
    "policies",
    "meta",
    "no_parent",
    "no_default_policy",
    "renewable",
    "ttl",
    "type",
    "explicit_max_ttl",
    "display_name",
    "num_uses",
    "period",
    "entity_alias",
];

/// CVE-2026-39396: a small body that unpacks to a huge one.
pub(super) async fn row_057_compressed_bodies_are_refused(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let before = cell.node.resident_kib()?;
    for encoding in ["gzip", "br", "deflate", "zstd", "GZIP", "gzip, gzip", "identity, gzip"] {
        for path in [format!("{mount}/data/x"), "sys/storage/raft/join".to_owned()] {
            let headers = [("Content-Encoding", encoding)];
            let tried = cell.root().call("POST", &path, &headers, BOMB).await?;
            tried.is(&[415], &format!("{path} with the encoding {encoding}"))?;
        }
    }
    let te = [("TE", "gzip"), ("Accept-Encoding", "gzip, br")];
    let plain = cell.root().call("GET", "sys/mounts", &te, b"").await?.done("a read")?;
    ensure!(plain.header("content-encoding").is_none(), "compressed beside secrets: {plain}");
    let snapshot = cell.root().call("POST", "sys/storage/raft/snapshot", &[], BOMB).await?;
    snapshot.refused("a snapshot that is a gzip bomb")?;
    let after = cell.node.resident_kib()?;
    ensure!(after < before + (256 << 10), "{before} KiB became {after} KiB");
    Ok(())
}

/// The head of a gzip file and what could be its content.
const BOMB: &[u8] =
    &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xed, 0xc1, 1, 1, 0, 0, 0, 0x82, 0x20, 0xff];
const ANSWER_MAX: Duration = Duration::from_secs(10);

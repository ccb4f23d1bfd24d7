//! Rows about the audit log: 67 to 72, 75, 76.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{API_LOGS, Caller, Cell};
use crate::pace;

/// CVE-2024-8365: tokens and accessors in clear.
pub(super) async fn row_067_no_token_or_accessor_stands_in_the_audit_log(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let body = json!({"policies": ["default"], "id": cell.canary("id")});
    let made = cell.root().post("auth/token/create", &body).await?.done("a token")?;
    let accessor = made.text("/auth/accessor")?;
    let child = cell.token(json!({"policies": "default"})).await?;
    let texts = [cell.canary("id"), accessor, child.token.clone()];
    let root = cell.root();
    for (path, body) in [
        ("auth/token/lookup", json!({"token": texts[0]})),
        ("auth/token/lookup-accessor", json!({"accessor": texts[1]})),
        ("auth/token/renew-accessor", json!({"accessor": texts[1]})),
        ("sys/capabilities", json!({"token": texts[2], "paths": ["x"]})),
        ("sys/policies/explain", json!({"token": texts[2], "path": "x", "operation": "read"})),
    ] {
        root.post(path, &body).await?.done(path)?;
    }
    for token in [&texts[0], &texts[2]] {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let used = cell.nobody().call("GET", "auth/token/lookup-self", &headers, b"").await?;
        used.done("a bearer")?;
        cell.node.caller(token).get(&format!("{mount}/data/x")).await?.is(&[403], "a read")?;
    }
    root.post("auth/token/revoke-accessor", &json!({"accessor": texts[1]}))
        .await?
        .done("an end")?;
    root.post("auth/token/revoke", &json!({"token": texts[2]})).await?.done("an end")?;
    for text in &texts {
        cell.node.caller(text).get(&format!("{mount}/data/x")).await?.is(&[403], "a dead token")?;
    }
    cell.is_audited(&mount).await?;
    for text in texts.iter().chain([&cell.site.root_token]) {
        cell.is_in_no_log(text)?;
    }
    Ok(())
}

/// CVE-2024-0831: what one device was told to show, all showed.
pub(super) async fn row_068_a_raw_device_leaks_on_no_other(cell: &Cell) -> anyhow::Result<()> {
    let (mount, canary) = (cell.kv().await?, cell.canary("raw"));
    cell.put(&format!("{mount}/data/x"), json!({"key": canary})).await?;
    cell.root().get(&format!("{mount}/data/x")).await?.done("a read")?;
    let shown = async || {
        cell.raw_audit_logs().is_ok_and(|logs| logs.iter().any(|log| log.contains(&canary)))
    };
    pace::until(LOGGED_MAX, "the canary in the log that hides nothing", shown).await?;
    cell.is_audited(&mount).await?;
    cell.is_in_no_log(&canary)
}

/// CVE-2025-62513: bytes and numbers were no strings, and so not hidden. Names of fields stay readable
/// by design, as in the logs that operators know.
pub(super) async fn row_069_values_of_every_type_are_hashed(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let canaries = writes_canaries(cell, &cell.root(), &mount).await?;
    cell.is_audited(&format!("{mount}/data/x")).await?;
    for canary in &canaries {
        cell.is_in_no_log(canary)?;
    }
    Ok(())
}

/// Writes and reads values of every type; what must stand nowhere.
async fn writes_canaries(cell: &Cell, caller: &Caller, mount: &str) -> anyhow::Result<Vec<String>> {
    let text = |what: &str| cell.canary(what);
    let number = 918_273_645_000_000_u64 + cell.name.bytes().map(u64::from).sum::<u64>();
    let secret = json!({
        "text": text("text"),
        "number": number,
        "fraction": 0.918_273_645_546,
        "flag": true,
        "list": [text("list"), [text("deep")], {"in": text("inlist")}],
        "object": {"key": {"deeper": text("leaf")}},
        "bytes": text("bytes").bytes().collect::<Vec<u8>>(),
    });
    let path = format!("{mount}/data/x");
    caller.post(&path, &json!({ "data": secret })).await?.done("a write")?;
    caller.get(&path).await?.done("a read")?;
    caller.patch(&path, &json!({"data": {"patched": text("patched")}})).await?.done("a patch")?;
    caller.get(&format!("{mount}/subkeys/x")).await?.done("its keys")?;
    let about = json!({"custom_metadata": {"k": text("meta")}});
    caller.post(&format!("{mount}/metadata/x"), &about).await?.done("metadata")?;
    caller.post("cubbyhole/x", &json!({"key": text("cub")})).await?.done("a cubbyhole")?;
    caller.get("cubbyhole/x").await?.done("a cubbyhole")?;
    let raw = text("rawbody");
    caller.call("POST", &path, &[], raw.as_bytes()).await?.is(&[400], "a body that is no JSON")?;
    let query = format!("{path}?version={}", text("query"));
    caller.get(&query).await?.is(&[400], "a query that is no number")?;
    let kinds = [
        "text", "list", "deep", "inlist", "leaf", "bytes", "patched", "meta", "cub", "rawbody",
        "query",
    ];
    let mut canaries: Vec<String> = kinds.into_iter().map(text).collect();
    canaries.push(number.to_string());
    canaries.push("918273645546".to_owned());
    Ok(canaries)
}

/// CVE-2026-46358: the headers that carry authority were those that were not hidden.
pub(super) async fn row_070_no_header_of_authority_is_logged(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let names = [
        "X-Vault-Token",
        "Authorization",
        "Cookie",
        "Proxy-Authorization",
        "X-Vault-MFA",
        "X-Vault-Inline-Auth-Path",
        "X-Vault-Inline-Auth-Parameter-password",
        "X-Vault-Policy-Override",
        "Idempotency-Key",
    ];
    let rules = "sys/config/auditing/request-headers";
    for name in ["X-Vault-Token", "x-vault-token", "AUTHORIZATION", "Authorization"] {
        let listed = cell.root().post(&format!("{rules}/{name}"), &json!({"hmac": false})).await?;
        listed.is(&[400], &format!("{name} is to be logged in clear"))?;
    }
    let canary = |name: &str| cell.canary(&name.to_lowercase().replace('-', ""));
    for name in names {
        let (value, path) = (canary(name), format!("{mount}/data/x"));
        for value in [value.clone(), format!("Bearer {value}"), format!("Basic {value}")] {
            let headers = [(name, value.as_str())];
            cell.nobody().call("GET", &path, &headers, b"").await?.refused(name)?;
        }
        let headers = [(name, value.as_str())];
        if name != "X-Vault-Token" {
            cell.root().call("GET", &path, &headers, b"").await?.is(&[404, 400], name)?;
        }
    }
    cell.is_audited(&mount).await?;
    for name in names {
        cell.is_in_no_log(&canary(name))?;
    }
    Ok(())
}

/// CVE-2025-4166: what did not parse stood in the error, and so in log and audit.
pub(super) async fn row_071_a_refusal_repeats_nothing_that_was_sent(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let canary = cell.canary("malformed");
    repeats_nothing(cell, &cell.root(), &mount, &canary).await?;
    cell.is_audited(&mount).await?;
    cell.is_in_no_log(&canary)
}

async fn repeats_nothing(
    cell: &Cell,
    caller: &Caller,
    mount: &str,
    canary: &str,
) -> anyhow::Result<()> {
    let path = format!("{mount}/data/y");
    let bodies = [
        format!("{{\"data\":{{\"k\":\"{canary}\""),
        format!("{{\"data\":{canary}}}"),
        format!("{{\"{canary}\":1,\"{canary}\":2}}"),
        format!("{{\"data\":\"{canary}\"}}"),
        format!("{{\"data\":[\"{canary}\"]}}"),
        format!("{{\"options\":{{\"cas\":\"{canary}\"}},\"data\":{{}}}}"),
        format!("{{\"options\":\"{canary}\",\"data\":{{}}}}"),
        format!("[\"{canary}\"]"),
        canary.to_owned(),
    ];
    let mut repeated = Vec::new();
    for body in &bodies {
        let tried = caller.call("POST", &path, &[], body.as_bytes()).await?.is(&[400], body)?;
        if tried.body.contains(canary) {
            repeated.push(format!("{body}: {tried}"));
        }
    }
    let own = |path: &str| format!("{path}/{}", cell.named("bad"));
    for (path, fields) in [
        (format!("{mount}/config"), &["max_versions", "cas_required", "delete_version_after"][..]),
        (format!("{mount}/metadata/y"), &["max_versions", "cas_required", "custom_metadata"]),
        (format!("{mount}/destroy/y"), &["versions"]),
        ("auth/token/create".into(), &["ttl", "period", "num_uses", "meta", "renewable", "type"]),
        (
            own("auth/token/roles"),
            &["token_bound_cidrs", "token_type", "orphan", "token_period", "token_num_uses"],
        ),
        (own("sys/policies/acl"), &["policy"]),
        (own("sys/policies/password"), &["policy"]),
        (own("sys/quotas/rate-limit"), &["rate", "interval"]),
        // The name of an engine that is not there is repeated: clients compare that text.
        (own("sys/mounts"), &["config", "options"]),
        (format!("sys/mounts/{mount}/tune"), &["listing_visibility", "default_lease_ttl"]),
        (own("sys/audit"), &["type", "options"]),
        ("sys/unseal".into(), &["key"]),
        ("sys/storage/raft/join".into(), &["join_token", "leader_cluster_addr"]),
        ("sys/generate-root/update".into(), &["key", "nonce"]),
        ("auth/token/lookup".into(), &["token"]),
        ("auth/token/lookup-accessor".into(), &["accessor"]),
    ] {
        for field in fields {
            // Names of fields stay readable in the log, so the canary is none.
            for value in [json!(canary), json!([canary, 7]), json!({"b": {"a": canary}})] {
                let body = json!({ *field: value });
                let tried = caller.post(&path, &body).await?;
                let what = format!("{path} with {field}, {}", value_kind(&value));
                ensure!(tried.status < 500, "{what}: {tried}");
                if tried.body.contains(canary) {
                    repeated.push(format!("{what}: {tried}"));
                }
            }
        }
    }
    ensure!(repeated.is_empty(), "answers repeat what was sent: {}", repeated.join("; "));
    Ok(())
}

fn value_kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        _ => "an object",
    }
}

/// CVE-2024-2877: what a standby handed on was logged in clear.
pub(super) async fn row_072_what_another_node_hands_on_is_hidden_as_well(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let malformed = cell.canary("handed");
    let mut canaries = vec![malformed.clone()];
    for door in cell.nodes.iter().rev() {
        let caller = cell.token(json!({"policies": "root", "ttl": "1h"})).await?.at(door);
        canaries.extend(writes_canaries(cell, &caller, &mount).await?);
        repeats_nothing(cell, &caller, &mount, &malformed).await?;
        let bearer = format!("Bearer {}", caller.token);
        let headers = [("Authorization", bearer.as_str())];
        let body = json!({"data": {"a": 1}}).to_string();
        let path = format!("{mount}/data/bearer");
        door.nobody().call("POST", &path, &headers, body.as_bytes()).await?.done("a bearer")?;
        canaries.push(caller.token);
    }
    cell.is_audited(&format!("{mount}/data/bearer")).await?;
    for canary in &canaries {
        cell.is_in_no_log(canary)?;
    }
    Ok(())
}

/// CVE-2025-6000: an audit file that became a program.
pub(super) async fn row_075_an_api_enables_only_files_in_the_allowed_directory(
    cell: &Cell,
) -> anyhow::Result<()> {
    guards_audit_paths(cell, "dev075", |path| json!({ "file_path": path })).await?;
    let inside = inside(cell, "fine.log")?;
    for more in [
        json!({"prefix": "#!/bin/sh\n"}),
        json!({"prefix": "x"}),
        json!({"mode": "0755"}),
        json!({"mode": "0777"}),
        json!({"mode": "4600"}),
        json!({"mode": "0666"}),
        json!({"mode": "rwx"}),
        json!({"log_raw": "true"}),
        json!({"danger_log_raw": true}),
        json!({"format": "jsonx"}),
    ] {
        let mut options = more.clone();
        options["file_path"] = json!(inside);
        refuses(cell, "dev075", &json!({"type": "file", "options": options})).await?;
    }
    for (kind, options) in [
        ("socket", json!({"address": "127.0.0.1:9"})),
        ("socket", json!({"address": "/tmp/x.sock", "socket_type": "unix"})),
        ("syslog", json!({})),
        ("pipe", json!({"file_path": inside})),
    ] {
        refuses(cell, "dev075", &json!({"type": kind, "options": options})).await?;
    }
    ensure!(!Path::new(&inside).exists(), "a refusal made {inside}");
    Ok(())
}

/// CVE-2026-5051: the old name of the path passed by the guard.
pub(super) async fn row_076_the_old_name_of_the_path_is_guarded_as_well(
    cell: &Cell,
) -> anyhow::Result<()> {
    guards_audit_paths(cell, "dev076", |path| json!({ "path": path })).await?;
    guards_audit_paths(cell, "dev076", |path| json!({"path": path, "file_path": path})).await?;
    guards_audit_paths(cell, "dev076", |path| json!({"File_Path": path, "PATH": path})).await?;
    let (inside, outside) = (inside(cell, "fine.log")?, cell.site.directory.join("outside.log"));
    for options in [json!({"file_path": outside, "path": inside}), json!({"file_path": ""})] {
        refuses(cell, "dev076", &json!({"type": "file", "options": options})).await?;
    }
    ensure!(!outside.exists(), "a refusal made {}", outside.display());
    Ok(())
}

/// A file in this node's allowed directory; the leader is who decides, in its own.
fn inside(cell: &Cell, name: &str) -> anyhow::Result<String> {
    let folder = cell.node.node.config.with_file_name(API_LOGS).canonicalize()?;
    let name = cell.named(name);
    folder.join(name).to_str().map(str::to_owned).context("a path is text")
}

async fn guards_audit_paths(
    cell: &Cell,
    device: &str,
    options: impl Fn(&str) -> Value,
) -> anyhow::Result<()> {
    let mut paths: Vec<String> = [
        "/dev/null",
        "/dev/full",
        "/etc/cron.d/x",
        "relative.log",
        "",
        "/",
        "/proc/self/mem",
        "stdout",
        "discard",
        "~/x",
        "api-logs/x",
    ]
    .map(str::to_owned)
    .to_vec();
    for door in &cell.nodes {
        let allowed = door.node.config.with_file_name(API_LOGS);
        let link = allowed.join(cell.named("link"));
        // Each call of this function meets the link that the first one made.
        if !link.is_symlink() {
            symlink(&cell.site.directory, &link)?;
        }
        let allowed = allowed.display();
        let link = link.display();
        paths.extend([
            format!("{allowed}/../x.log"),
            format!("{allowed}/./../x.log"),
            format!("{link}"),
            format!("{link}/x.log"),
            format!("{allowed}"),
            format!("{allowed}/missing/x.log"),
            format!("{allowed}\0/x.log"),
            format!("{allowed}x/x.log"),
        ]);
    }
    for path in &paths {
        refuses(cell, device, &json!({"type": "file", "options": options(path)})).await?;
    }
    ensure!(!cell.site.directory.join("x.log").exists(), "a refusal made a file");
    Ok(())
}

async fn refuses(cell: &Cell, device: &str, body: &Value) -> anyhow::Result<()> {
    let path = format!("sys/audit/{}", cell.named(device));
    cell.root().post(&path, body).await?.is(&[400], &format!("a device with {body}"))?;
    let devices = cell.root().get("sys/audit").await?.done("the devices")?;
    ensure!(!devices.body.contains(&cell.name), "it was enabled all the same: {devices}");
    Ok(())
}

const LOGGED_MAX: std::time::Duration = std::time::Duration::from_secs(5);

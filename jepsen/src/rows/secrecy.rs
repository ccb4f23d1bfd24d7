//! Rows about what strangers and logs learn: 35, 59, 73, 74.

use anyhow::ensure;
use serde_json::json;

use super::{Caller, Cell, Reply};

/// CVE-2026-4525: the bearer's token went on to engines. None here sees a header.
pub(super) async fn row_035_no_token_header_reaches_an_engine(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let pass = json!({"passthrough_request_headers": ["Authorization", "X-Vault-Token"]});
    let tuned = cell.root().post(&format!("sys/mounts/{mount}/tune"), &pass).await?;
    tuned.is(&[204, 400], "headers of authority are to be passed on")?;
    let rule =
        format!("path \"{mount}/*\" {{ capabilities = [\"create\", \"update\", \"read\"] }}");
    let caller = cell.with_policy("bearer", &rule).await?;
    let bearer = format!("Bearer {}", caller.token);
    let path = format!("{mount}/data/x");
    for headers in [
        vec![("Authorization", bearer.as_str())],
        vec![("X-Vault-Token", caller.token.as_str())],
        vec![("X-Vault-Token", caller.token.as_str()), ("Authorization", bearer.as_str())],
    ] {
        for door in &cell.nodes {
            let nobody = door.nobody();
            let put = nobody.call("POST", &path, &headers, b"{\"data\":{\"a\":1}}").await?;
            let get = nobody.call("GET", &path, &headers, b"").await?.done("a read")?;
            let about = cell.root().get(&format!("{mount}/metadata/x")).await?;
            for reply in [put.done("a write")?, get, about.done("what is kept beside it")?] {
                let all = [reply.head, reply.body].concat();
                ensure!(!all.contains(&caller.token), "an answer holds the token: {all}");
            }
        }
    }
    cell.is_in_no_log(&caller.token)
}

/// CVE-2021-3024: addresses, hosts and paths in answers to strangers.
pub(super) async fn row_059_an_answer_to_strangers_names_no_place(
    cell: &Cell,
) -> anyhow::Result<()> {
    let nobody = cell.nobody();
    let mut replies = Vec::new();
    for (method, path, body) in [
        ("GET", "sys/mounts", ""),
        ("GET", "nowhere/x", ""),
        ("GET", "sys/nowhere", ""),
        ("GET", "secret/data/x", ""),
        ("PURGE", "secret/data/x", ""),
        ("POST", "auth/userpass/login/x", "{"),
        ("POST", "secret/data/x", "{"),
        ("GET", "secret/data/../x", ""),
        ("GET", "secret/data/%ff", ""),
        ("PUT", "sys/init", r#"{"secret_shares":1,"secret_threshold":1}"#),
        ("PUT", "sys/unseal", r#"{"key":"00"}"#),
        ("POST", "sys/storage/raft/join", r#"{"leader_api_addr":"https://192.0.2.1:8200"}"#),
        ("GET", "sys/storage/raft/configuration", ""),
        ("GET", "sys/metrics", ""),
        ("GET", "sys/generate-root/attempt", ""),
        ("GET", "sys/rekey/init", ""),
        ("GET", "sys/internal/ui/mounts", ""),
        ("GET", "sys/internal/specs/openapi", ""),
        ("GET", "sys/host-info", ""),
        ("GET", "sys/config/state/sanitized", ""),
        ("GET", "sys/pprof/cmdline", ""),
        ("GET", "sys/health", ""),
        ("GET", "sys/seal-status", ""),
        ("GET", "sys/init", ""),
    ] {
        let reply = nobody.call(method, path, &[], body.as_bytes()).await?;
        replies.push((format!("{method} {path}"), reply));
    }
    for target in ["/", "/v2/x", "/metrics", "/debug/pprof", "/.git/config", "/v1"] {
        let reply = nobody.call_at("GET", target, &[], b"").await?;
        replies.push((target.to_owned(), reply));
    }
    for (what, reply) in &replies {
        names_no_place(cell, what, reply)?;
    }
    let large = "x".repeat(70 << 10);
    let headers = [("X-Large", large.as_str())];
    let reply = nobody.call("GET", "sys/health", &headers, b"").await?;
    names_no_place(cell, "a large header", &reply.refused("a large header")?)
}

fn names_no_place(cell: &Cell, what: &str, reply: &Reply) -> anyhow::Result<()> {
    let documented =
        ["sys/health", "sys/seal-status", "sys/unseal"].iter().any(|path| what.ends_with(path));
    ensure!(reply.status < 500, "{what}: {reply}");
    let all = [reply.head.as_str(), &reply.body].concat();
    let directory = cell.site.directory.display().to_string();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let mut places = vec![
        "127.0.0.1",
        ".rs:",
        "panicked",
        "src/",
        "/home",
        // Not `sys/rotate/root/init`.
        "/root/.",
        "backtrace",
        "sled",
        "openraft",
        "hyper",
    ];
    places.push(&directory);
    // A short name may be a word.
    if host.trim().len() > 5 {
        places.push(host.trim());
    }
    if !documented {
        places.extend(["conclave.0", "1.17.0", "node-1", "node-2", "node-3"]);
    }
    for place in places {
        ensure!(!all.contains(place), "{what} names {place}: {all}");
    }
    ensure!(reply.header("server").is_none(), "{what} says what serves: {all}");
    Ok(())
}

/// CVE-2020-13223: a proxy's password in the log. The nodes log all they can.
pub(super) async fn row_073_secrets_of_environment_and_configuration_are_in_no_log(
    cell: &Cell,
) -> anyhow::Result<()> {
    let logs = cell.process_logs()?;
    let says_all = logs.iter().any(|(_, text)| text.contains("DEBUG") || text.contains("TRACE"));
    ensure!(says_all, "no log holds what is rarely logged: void");
    for secret in &cell.site.secrets {
        cell.is_in_no_log(secret)?;
    }
    for share in &cell.site.shares {
        cell.is_in_no_log(share)?;
    }
    cell.is_in_no_log(&cell.site.root_token)
}

/// CVE-2026-115363: a secret in an answer that was to be free of them.
pub(super) async fn row_074_secrets_of_the_configuration_are_in_no_answer(
    cell: &Cell,
) -> anyhow::Result<()> {
    let rights = "path \"*\" { capabilities = [\"read\", \"list\", \"update\", \"sudo\"] }";
    let sudo = cell.with_policy("all", rights).await?;
    for (path, must) in [
        ("sys/metrics?format=prometheus", true),
        ("sys/mounts", true),
        ("sys/auth", true),
        ("sys/audit", true),
        ("sys/key-status", true),
        ("sys/rotate/config", true),
        ("sys/seal-status", true),
        ("sys/health?standbyok=true", true),
        ("sys/leader", true),
        ("sys/storage/raft/configuration", true),
        ("sys/internal/specs/openapi", true),
        ("sys/quotas/config", true),
        ("sys/config/auditing/request-headers", true),
        ("sys/config/state/sanitized", false),
        ("sys/host-info", false),
        ("sys/in-flight-req", false),
        ("sys/pprof/cmdline", false),
        ("sys/loggers", false),
        ("sys/raw/core/keyring", false),
    ] {
        let reply = sudo.get(path).await?;
        ensure!(!must || reply.status == 200, "{path}: {reply}");
        holds_no_secret(cell, &sudo, path, &reply)?;
    }
    Ok(())
}

fn holds_no_secret(cell: &Cell, caller: &Caller, path: &str, reply: &Reply) -> anyhow::Result<()> {
    let site = &cell.site;
    let secrets = site.secrets.iter().chain(&site.shares).chain([&site.root_token, &caller.token]);
    for secret in secrets {
        let all = [reply.head.as_str(), &reply.body].concat();
        ensure!(!all.contains(secret.as_str()), "{path} shows {secret}");
    }
    Ok(())
}

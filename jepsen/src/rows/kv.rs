//! Rows about the KV engine: 54, 66, 106.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::{Value, json};

use super::{Caller, Cell, Reply};

/// CVE-2021-45042: a name that is too long ended every replica that applied it.
pub(super) async fn row_054_what_is_too_long_is_refused_and_no_node_dies(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let root = cell.root();
    let names = [
        ("a name of 64 KiB", "k".repeat(64 << 10)),
        ("a name of 8 KiB", "k".repeat(8 << 10)),
        ("10,000 segments", vec!["k"; 10_000].join("/")),
        ("1,000 segments", vec!["k"; 1000].join("/")),
        ("a name of 4 KiB of escapes", "%41".repeat(4 << 10)),
    ];
    for (what, name) in &names {
        for (method, body) in [("POST", "{\"data\":{}}"), ("GET", ""), ("DELETE", ""), ("LIST", "")]
        {
            for head in ["data", "metadata"] {
                let path = format!("{mount}/{head}/{name}");
                let tried = root.call(method, &path, &[], body.as_bytes()).await?;
                tried.is(&[400, 405, 413, 414, 431], &format!("{method} {head} of {what}"))?;
            }
        }
    }
    let large = |bytes: usize| json!({"data": {"v": "x".repeat(bytes)}});
    root.post(&format!("{mount}/data/fits"), &large((1 << 20) - 4096)).await?.done("what fits")?;
    for bytes in [(1 << 20) + 1, 2 << 20, 33 << 20] {
        let tried = root.post(&format!("{mount}/data/large"), &large(bytes)).await?;
        tried.is(&[400, 413], &format!("a value of {bytes} bytes"))?;
    }
    let long = json!({"custom_metadata": {"k": "v".repeat(1 << 16)}});
    root.post(&format!("{mount}/metadata/long"), &long).await?.is(&[400, 413], "long metadata")?;
    let metadata = json!({"policies": "default", "meta": {"k": "v".repeat(1 << 16)}});
    root.post("auth/token/create", &metadata).await?.is(&[400, 413], "a token's metadata")?;
    for (path, body) in [
        (format!("sys/policies/acl/{}", "p".repeat(600)), json!({"policy": "path \"x\" {}"})),
        (cell.named("x").repeat(400), json!({"type": "kv"})),
    ] {
        let path = if path.starts_with("sys/") { path } else { format!("sys/mounts/{path}") };
        root.post(&path, &body).await?.is(&[400, 414, 431], "a long name")?;
    }
    let text = format!("path \"x\" {{ capabilities = [\"read\"] }} # {}", "c".repeat(600 << 10));
    let path = format!("sys/policies/acl/{}", cell.named("long"));
    root.post(&path, &json!({ "policy": text })).await?.is(&[400, 413], "a long policy")?;
    for door in &cell.nodes {
        let read = root.at(door).get(&format!("{mount}/data/fits")).await?;
        read.is(&[200], &format!("node {} goes on", door.node.id))?;
    }
    Ok(())
}

/// CVE-2023-0620: a value became a part of a query.
pub(super) async fn row_066_quotes_and_newlines_are_data(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let root = cell.root();
    cell.put(&format!("{mount}/data/neighbour"), json!({"is": "here"})).await?;
    let texts = [
        "'; DROP TABLE x; --",
        "\" OR \"\"=\"",
        "a\nb\r\nc",
        "$(id) `id` ${x} {{x}} %s%n",
        "\\'\\\"\\",
        "../..",
        "*+?",
    ];
    for (number, text) in texts.into_iter().enumerate() {
        let path = format!("{mount}/data/t{number}");
        cell.put(&path, json!({ text: text })).await?;
        let read = root.get(&path).await?.done("a secret")?.at("/data/data")?;
        ensure!(read == json!({ text: text }), "{text:?} came back as {read}");
        let about = json!({"custom_metadata": {"note": text}});
        let metadata = format!("{mount}/metadata/t{number}");
        // What cannot be printed is refused there.
        let noted = root.post(&metadata, &about).await?.is(&[204, 400], "custom metadata")?;
        if noted.status == 204 {
            let read = root.get(&metadata).await?.text("/data/custom_metadata/note")?;
            ensure!(read == text, "{text:?} came back as {read:?}");
        }
        let tuned = json!({ "description": text });
        root.post(&format!("sys/mounts/{mount}/tune"), &tuned).await?.done("a description")?;
        let read =
            root.get(&format!("sys/mounts/{mount}/tune")).await?.text("/data/description")?;
        ensure!(read == text, "{text:?} came back as {read:?}");
        let named = json!({"policies": "default", "meta": {"by": text}, "display_name": text});
        let token = cell.token(named).await?;
        let shown = token.get("auth/token/lookup-self").await?.text("/data/meta/by")?;
        ensure!(shown == text, "{text:?} came back as {shown:?}");
    }
    for name in ["it's", "a;b", "%22q%22", "a%20--", "100%25", "%7Bx%7D", "*", "+"] {
        let path = format!("{mount}/data/odd/{name}");
        cell.put(&path, json!({"name": name})).await?;
        let read = root.get(&path).await?.done(name)?.text("/data/data/name")?;
        ensure!(read == name, "{name} came back as {read}");
    }
    let keys = root.list(&format!("{mount}/metadata/odd")).await?.texts("/data/keys")?;
    ensure!(keys.len() == 8, "8 odd names were written, there are {keys:?}");
    root.delete(&format!("{mount}/metadata/odd/*")).await?.done("one name")?;
    let keys = root.list(&format!("{mount}/metadata/odd")).await?.texts("/data/keys")?;
    ensure!(keys.len() == 7, "one of 8 names was deleted, there are {keys:?}");
    root.get(&format!("{mount}/data/neighbour")).await?.is(&[200], "the neighbour")?;
    Ok(())
}

/// Rights to `data` taken for those of the other routes.
pub(super) async fn row_106_each_route_of_kv_needs_its_own_capability(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    for version in 0..3 {
        cell.put(&format!("{mount}/data/x"), json!({"version": version, "a": 1})).await?;
    }
    let mut callers = BTreeMap::new();
    for capability in CAPABILITIES {
        let rule = format!("path \"{mount}/*\" {{ capabilities = [\"{capability}\"] }}");
        callers.insert(capability, cell.with_policy(capability, &rule).await?);
    }
    for (method, path, body, needed) in table() {
        let path = format!("{mount}/{path}");
        for capability in CAPABILITIES.into_iter().filter(|capability| *capability != needed) {
            let tried = ask(&callers[capability], method, &path, &body).await?;
            tried.is(&[403], &format!("{method} {path} with {capability} alone"))?;
        }
        let tried = ask(&callers[needed], method, &path, &body).await?;
        tried.is(&[200, 204], &format!("{method} {path} with {needed}"))?;
    }
    destroyed_is_gone(cell, &mount).await
}

const CAPABILITIES: [&str; 7] = ["create", "read", "update", "delete", "list", "patch", "sudo"];

/// What is asked for and the one capability that gives it, in an order in which each finds what it
/// needs.
fn table() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let versions = json!({"versions": [1]});
    let data = json!({"data": {"b": 2}});
    vec![
        ("GET", "data/x", Value::Null, "read"),
        ("GET", "data/x?version=1", Value::Null, "read"),
        ("GET", "subkeys/x", Value::Null, "read"),
        ("GET", "metadata/x", Value::Null, "read"),
        ("LIST", "metadata", Value::Null, "list"),
        ("LIST", "detailed-metadata", Value::Null, "list"),
        ("POST", "data/new", data.clone(), "create"),
        ("POST", "data/x", data.clone(), "update"),
        ("PATCH", "data/x", data, "patch"),
        ("POST", "metadata/named", json!({"max_versions": 5}), "create"),
        ("POST", "metadata/x", json!({"max_versions": 9}), "update"),
        ("PATCH", "metadata/x", json!({"max_versions": 8}), "patch"),
        ("POST", "delete/x", versions.clone(), "update"),
        ("POST", "undelete/x", versions.clone(), "update"),
        ("POST", "destroy/x", versions, "update"),
        ("DELETE", "data/x", Value::Null, "delete"),
        ("DELETE", "metadata/new", Value::Null, "delete"),
        ("GET", "config", Value::Null, "read"),
        ("POST", "config", json!({"max_versions": 7}), "update"),
    ]
}

async fn ask(caller: &Caller, method: &str, path: &str, body: &Value) -> anyhow::Result<Reply> {
    match method {
        "PATCH" => caller.patch(path, body).await,
        "POST" => caller.post(path, body).await,
        _ => caller.call(method, path, &[], b"").await,
    }
}

/// Version 1 was destroyed: no route and no node has it.
async fn destroyed_is_gone(cell: &Cell, mount: &str) -> anyhow::Result<()> {
    let versions = json!({"versions": [1]});
    let undeleted = cell.root().post(&format!("{mount}/undelete/x"), &versions).await?;
    undeleted.is(&[200, 204, 400], "undelete of what was destroyed")?;
    let copied = json!({"to": "copy"});
    cell.root().post(&format!("{mount}/copy/x"), &copied).await?.is(&[200, 204, 400], "a copy")?;
    for door in &cell.nodes {
        let root = cell.root().at(door);
        for path in ["data/x", "subkeys/x", "data/copy"] {
            let read = root.get(&format!("{mount}/{path}?version=1")).await?;
            let read = read.is(&[404], &format!("{path}, destroyed"))?;
            ensure!(!read.body.contains("\"a\""), "{path} shows it: {read}");
        }
    }
    Ok(())
}

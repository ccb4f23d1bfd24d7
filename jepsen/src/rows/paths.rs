//! Rows about what a path is: 1, 5, 6, 7.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{Caller, Cell};

/// CVE-2026-3605: a right to delete below one name deleted others.
pub(super) async fn row_001_no_spelling_of_dots_reaches_another_secret(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    for path in ["b", "b", "a/x"] {
        cell.put(&format!("{mount}/data/{path}"), json!({"from": path})).await?;
    }
    let rule = format!("path \"{mount}/metadata/a/*\" {{ capabilities = [\"delete\"] }}");
    let caller = cell.with_policy("a", &rule).await?;
    let b = format!("{mount}/metadata/b");
    let before = cell.root().get(&b).await?.done("b")?.at("/data/versions")?;
    let spellings = [
        "a/../b",
        "a/%2e%2e/b",
        "a/.%2e/b",
        "a/..%2fb",
        "a/%2e%2e%2fb",
        "a/%252e%252e/b",
        "a/..%252fb",
        "a%5c..%5cb",
        "a/..%5cb",
        "a/..",
        "a/.",
        "a/./x",
        "a/./../b",
        "a/%c0%ae%c0%ae/b",
    ];
    for spelling in spellings {
        for method in ["DELETE", "GET", "LIST"] {
            let path = format!("{mount}/metadata/{spelling}");
            caller
                .call(method, &path, &[], b"")
                .await?
                .is(&[400], &format!("{method} {spelling}"))?;
        }
    }
    let after = cell.root().get(&b).await?.done("b afterwards")?.at("/data/versions")?;
    ensure!(before == after, "b was {before} and is {after}");
    let right = format!("{mount}/metadata/a/x");
    caller.delete(&right).await?.is(&[204], "what the rule allows")?;
    Ok(())
}

/// Router, policy and storage decode alike, or not at all.
pub(super) async fn row_005_what_decoders_disagree_about_is_refused_or_one_key(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let root = cell.root();
    let refused = [
        "a%2Fb",
        "a%2fb",
        "a%00b",
        "%ff",
        "%c0%af",
        "a%0d%0ab",
        "a%0ab",
        "a%7f",
        "a%zz",
        "a%2",
        "a%e2%80%8bb",
        "a%ef%bb%bf",
        "a%e2%80%aeb",
        "a%252Fb",
        "a%5cb",
    ];
    for name in refused {
        let path = format!("{mount}/data/{name}");
        root.get(&path).await?.is(&[400], &format!("GET {name}"))?;
        root.post(&path, &json!({"data": {}})).await?.is(&[400], &format!("POST {name}"))?;
    }
    one_key_is_one_rule(cell, &mount, ["caf%C3%A9", "cafe%CC%81"]).await?;
    let keys = root.list(&format!("{mount}/metadata")).await?.done("a list")?;
    let keys = keys.texts("/data/keys")?;
    ensure!(keys.len() == 1, "one name was written, there are {keys:?}");
    Ok(())
}

/// Two spellings that look alike are two secrets with two rules, or one of them is none.
async fn one_key_is_one_rule(
    cell: &Cell,
    mount: &str,
    [known, other]: [&str; 2],
) -> anyhow::Result<()> {
    let path = format!("{mount}/data/{known}");
    cell.put(&path, json!({"is": known})).await?;
    let rule = format!("path \"{mount}/data/caf\u{e9}\" {{ capabilities = [\"read\"] }}");
    let caller = cell.with_policy("nfc", &rule).await?;
    let [lower, upper] = [path.to_lowercase(), path.replace("f%", "%66%")];
    for same in [&path, &lower, &upper] {
        caller.get(same).await?.is(&[200], same)?;
    }
    let other = format!("{mount}/data/{other}");
    caller.get(&other).await?.is(&[400, 403], "the other spelling, without a rule")?;
    cell.root().get(&other).await?.is(&[400, 404], "the other spelling, which nobody wrote")?;
    Ok(())
}

/// `//` and a trailing slash: handlers and policies must not differ about them.
pub(super) async fn row_006_doubled_and_trailing_slashes_are_refused(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    cell.put(&format!("{mount}/data/x"), json!({})).await?;
    let root = cell.root();
    let body = json!({"data": {}}).to_string();
    let targets = [
        "/v1//sys/mounts".to_owned(),
        "//v1/sys/mounts".to_owned(),
        format!("/v1/{mount}//data/x"),
        format!("/v1/{mount}/data//x"),
        format!("/v1/{mount}/data/x/"),
        format!("/v1/{mount}/data/x//"),
        format!("/v1//{mount}/data/x"),
    ];
    for target in &targets {
        for (method, body) in [("GET", ""), ("POST", body.as_str()), ("DELETE", "")] {
            let tried = root.call_at(method, target, &[], body.as_bytes()).await?;
            let right: &[u16] = if target.starts_with("//") { &[400, 404] } else { &[400] };
            tried.is(right, &format!("{method} {target}"))?;
        }
    }
    for (method, path) in [("LIST", "metadata"), ("LIST", "metadata/"), ("GET", "metadata/?list=1")]
    {
        let listed = root.call(method, &format!("{mount}/{path}"), &[], b"").await?;
        let keys = listed.done(path)?.texts("/data/keys")?;
        ensure!(keys == ["x"], "{method} {path}: {keys:?}");
    }
    let versions = root.get(&format!("{mount}/metadata/x")).await?.at("/data/current_version")?;
    ensure!(versions == json!(1), "a refused spelling wrote: version {versions}");
    Ok(())
}

/// CVE-2020-10661: a nested path of the root namespace matched in namespaces made later.
pub(super) async fn row_007_a_path_of_the_root_gives_nothing_in_a_namespace_of_that_name(
    cell: &Cell,
) -> anyhow::Result<()> {
    let team = cell.named("team");
    let mount = format!("{team}/kv");
    let body = json!({"type": "kv", "options": {"version": "2"}});
    cell.root().post(&format!("sys/mounts/{mount}"), &body).await?.done("a mount")?;
    cell.put(&format!("{mount}/data/x"), json!({"of": "root"})).await?;
    let rule = format!("path \"{team}/*\" {{ capabilities = [\"read\", \"list\"] }}");
    let caller = cell.with_policy("team", &rule).await?;
    caller.get(&format!("{mount}/data/x")).await?.is(&[200], "in the root namespace")?;
    let namespaces = [team.clone(), format!("{team}/"), format!("/{team}"), "..".to_owned()];
    for namespace in &namespaces {
        for path in ["kv/data/x", &format!("{mount}/data/x")] {
            sees_nothing(&caller, namespace, path).await?;
            sees_nothing(&cell.root(), namespace, path).await?;
        }
    }
    Ok(())
}

async fn sees_nothing(caller: &Caller, namespace: &str, path: &str) -> anyhow::Result<()> {
    let header = [("X-Vault-Namespace", namespace)];
    let reply = caller.call("GET", path, &header, b"").await?;
    let reply = reply.is(&[400, 403, 404], &format!("{path} in namespace {namespace}"))?;
    let shown = reply.json().unwrap_or(Value::Null).to_string();
    ensure!(!shown.contains("\"of\""), "{path} in namespace {namespace} shows the secret");
    Ok(())
}

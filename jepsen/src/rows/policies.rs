//! Rows about what policies decide: 2, 3, 4, 10, 105.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{Caller, Cell, Reply};

/// CVE-2026-89322: the policy saw the name as sent, the store its folded form.
pub(super) async fn row_002_a_denied_name_is_denied_in_every_spelling(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    cell.user(&mount, "admin", json!({"password": "right", "token_policies": "p"})).await?;
    let rules = format!(
        "path \"auth/{mount}/users/*\" {{ capabilities = [\"create\", \"update\", \"read\", \
         \"delete\"] }}\n\
         path \"auth/{mount}/users/admin*\" {{ capabilities = [\"deny\"] }}"
    );
    let caller = cell.with_policy("users", &rules).await?;
    let user = format!("auth/{mount}/users/admin");
    let body = json!({"password": "stolen", "token_policies": "q"});
    let spellings =
        ["ADMIN", "Admin", "admin%20", "%20admin", "%61dmin", "%41dmin", "admin/", "adm%C4%B1n"];
    let mut passed = Vec::new();
    for spelling in spellings {
        let path = format!("auth/{mount}/users/{spelling}");
        for tried in [path.clone(), format!("{path}/password"), format!("{path}/policies")] {
            note(&mut passed, &format!("POST {tried}"), &caller.post(&tried, &body).await?);
        }
        note(&mut passed, &format!("GET {path}"), &caller.get(&path).await?);
        note(&mut passed, &format!("DELETE {path}"), &caller.delete(&path).await?);
    }
    let kept = cell.root().get(&user).await?.at("/data/token_policies").unwrap_or_default();
    if kept != json!(["p"]) {
        passed.push(format!("the denied user's policies became {kept}"));
    }
    policies_have_one_spelling(cell, &mut passed).await?;
    ensure!(passed.is_empty(), "past a deny: {}", passed.join("; "));
    Ok(())
}

/// Names of policies fold as well.
async fn policies_have_one_spelling(cell: &Cell, passed: &mut Vec<String>) -> anyhow::Result<()> {
    let text = "path \"nothing\" { capabilities = [\"deny\"] }";
    let kept = cell.policy("admin", text).await?;
    let (upper, mixed) = (kept.to_uppercase(), kept.replace("admin", "Admin"));
    for old in ["policies/acl", "policy"] {
        let rules = format!(
            "path \"sys/{old}/*\" {{ capabilities = [\"create\", \"update\", \"read\", \"delete\"] \
             }}\n\
             path \"sys/{old}/{kept}\" {{ capabilities = [\"deny\"] }}"
        );
        let caller = cell.with_policy(&old.replace('/', ""), &rules).await?;
        for spelling in [&upper, &mixed, &format!("{kept}%20"), &format!("{kept}/")] {
            let path = format!("sys/{old}/{spelling}");
            let body = json!({"policy": "path \"*\" { capabilities = [\"sudo\"] }"});
            let written = caller.post(&path, &body).await?;
            let now = cell.root().get(&format!("sys/policies/acl/{kept}")).await?;
            let kept_its_text = now.text("/data/policy").is_ok_and(|now| now == text);
            if written.status < 400 && !kept_its_text {
                note(passed, &format!("POST {path}"), &written);
                cell.policy("admin", text).await?;
            }
        }
    }
    Ok(())
}

/// Notes what was not refused.
fn note(passed: &mut Vec<String>, what: &str, reply: &Reply) {
    if ![400, 403].contains(&reply.status) {
        passed.push(format!("{what}: {}", reply.status));
    }
}

/// CVE-2026-12624: the slash of a LIST was cut off before the deny was looked up.
pub(super) async fn row_003_no_kind_of_list_slips_past_a_deny(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    cell.put(&format!("{mount}/data/p/x"), json!({})).await?;
    cell.put(&format!("{mount}/data/q/x"), json!({})).await?;
    for (number, deny) in ["p/*", "p/", "p*", "p"].into_iter().enumerate() {
        let rules = format!(
            "path \"{mount}/metadata/*\" {{ capabilities = [\"list\", \"scan\", \"read\"] }}\n\
             path \"{mount}/metadata/{deny}\" {{ capabilities = [\"deny\"] }}"
        );
        let caller = cell.with_policy(&format!("list{number}"), &rules).await?;
        for (name, status) in [("p", 403), ("q", 200)] {
            for (method, tail) in LISTS {
                let path = format!("{mount}/metadata/{name}{tail}");
                let tried = caller.call(method, &path, &[], b"").await?;
                tried.is(&[status], &format!("{method} {path} under a deny of {deny}"))?;
            }
        }
    }
    Ok(())
}

const LISTS: [(&str, &str); 8] = [
    ("LIST", ""),
    ("LIST", "/"),
    ("GET", "?list=true"),
    ("GET", "?list=1"),
    ("GET", "/?list=true"),
    ("SCAN", ""),
    ("SCAN", "/"),
    ("GET", "?scan=true"),
];

/// OpenBao GH-3518: a limit of nothing, or below it, was no limit.
pub(super) async fn row_004_no_page_is_longer_than_the_policy_allows(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    for name in ["a", "b", "c", "d"] {
        cell.put(&format!("{mount}/data/{name}"), json!({})).await?;
    }
    let rule = format!(
        "path \"{mount}/metadata/\" {{\n capabilities = [\"list\", \"scan\"]\n \
         pagination_limit = 2\n}}"
    );
    let caller = cell.with_policy("pages", &rule).await?;
    let limits = [
        "",
        "limit=0",
        "limit=-1",
        "limit=1e30",
        "limit=3",
        "limit=4294967297",
        "limit=",
        "limit=2&limit=4",
        "limit=%202",
        "limit=02",
        "Limit=4",
        "limit=2&after=",
        "limit=nan",
        "limit=18446744073709551618",
        "limit=0x4",
        "limit[]=4",
    ];
    for limit in limits {
        for (method, path) in [("LIST", "?"), ("GET", "?list=true&"), ("SCAN", "?")] {
            let path = format!("{mount}/metadata{path}{limit}");
            let tried = caller.call(method, &path, &[], b"").await?;
            let tried = tried.is(&[200, 400, 403], &format!("{method} {path}"))?;
            shows_at_most_two(&tried, &format!("{method} {path}"))?;
        }
    }
    let right = caller.list(&format!("{mount}/metadata?limit=2")).await?.done("a page")?;
    ensure!(right.texts("/data/keys")? == ["a", "b"], "the first page: {right}");
    Ok(())
}

fn shows_at_most_two(reply: &Reply, what: &str) -> anyhow::Result<()> {
    if reply.status == 200 {
        let keys = reply.texts("/data/keys")?;
        ensure!(keys.len() <= 2, "{what} shows {keys:?}");
    }
    Ok(())
}

/// GHSA-hr5j-3j78-4vh2: a deny went away with the template that could not be rendered. A token
/// without an identity is one whose templates cannot be.
pub(super) async fn row_010_a_deny_whose_template_cannot_be_rendered_denies(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    cell.put(&format!("{mount}/data/x/y"), json!({})).await?;
    let selectors = [
        "identity.entity.id",
        "identity.entity.name",
        "identity.entity.metadata.scope",
        "identity.entity.aliases.none.name",
        "identity.groups.names.none.id",
    ];
    for (number, selector) in selectors.into_iter().enumerate() {
        let rules = format!(
            "path \"{mount}/*\" {{ capabilities = [\"read\", \"list\", \"update\"] }}\n\
             path \"{mount}/data/{{{{{selector}}}}}/*\" {{ capabilities = [\"deny\"] }}"
        );
        let caller = cell.with_policy(&format!("deny{number}"), &rules).await?;
        let path = format!("{mount}/data/x/y");
        caller.get(&path).await?.is(&[403], &format!("a read past a deny of {selector}"))?;
        caller.post(&path, &json!({"data": {}})).await?.is(&[403], "a write past it")?;
        let gives = format!(
            "path \"{mount}/data/{{{{{selector}}}}}*\" {{ capabilities = [\"read\", \"list\"] }}"
        );
        let caller = cell.with_policy(&format!("give{number}"), &gives).await?;
        caller.get(&path).await?.is(&[403], &format!("{selector} of nobody gives nothing"))?;
    }
    Ok(())
}

/// Judged on one reading of the body, used by another.
pub(super) async fn row_105_the_value_that_is_judged_is_the_value_that_is_used(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.named("one");
    let made = cell.root().post(&format!("sys/mounts/{mount}"), &json!({"type": "kv"})).await?;
    made.done("a mount of KV version 1")?;
    let rules = format!(
        "path \"{mount}/denied\" {{\n capabilities = [\"create\", \"update\", \"read\"]\n \
         denied_parameters = {{ \"role\" = [\"admin\", \"adm*\"] }}\n}}\n\
         path \"{mount}/allowed\" {{\n capabilities = [\"create\", \"update\", \"read\"]\n \
         allowed_parameters = {{ \"role\" = [\"guest\"] }}\n}}\n\
         path \"{mount}/required\" {{\n capabilities = [\"create\", \"update\"]\n \
         required_parameters = [\"role\"]\n}}"
    );
    let caller = cell.with_policy("parameters", &rules).await?;
    for rule in ["denied", "allowed"] {
        let path = format!("{mount}/{rule}");
        caller.post(&path, &json!({"role": "guest"})).await?.done("a value that is allowed")?;
        for (what, bad) in BODIES {
            tries_to_be_admin(&caller, &path, bad, what).await?;
        }
        for tail in ["?role=admin", "?ROLE=admin"] {
            let path = format!("{path}{tail}");
            tries_to_be_admin(&caller, &path, r#"{"role":"guest"}"#, tail).await?;
            tries_to_be_admin(&caller, &path, "", tail).await?;
        }
        let stored = cell.root().get(&path).await?.done("what is stored")?;
        let stored = stored.at("/data")?;
        ensure!(!stored.to_string().contains("adm"), "{rule}: {stored} was stored");
    }
    let path = format!("{mount}/required");
    for missing in ["{}", "", r#"{"other":1}"#] {
        let tried = caller.call("POST", &path, &[], missing.as_bytes()).await?;
        tried.is(&[400, 403], &format!("without what is required: {missing}"))?;
    }
    let tried = caller.call("POST", &format!("{path}?role=x"), &[], b"{\"other\":1}").await?;
    tried.is(&[400, 403], "what is required stands in the query alone")?;
    Ok(())
}

/// Refused, or the value that slipped through is not the one that was used.
async fn tries_to_be_admin(
    caller: &Caller,
    path: &str,
    body: &str,
    what: &str,
) -> anyhow::Result<()> {
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let headers: &[(&str, &str)] = if body.starts_with("role=") { &form } else { &[] };
    let tried = caller.call("POST", path, headers, body.as_bytes()).await?;
    let stored = caller.get(path.split('?').next().unwrap_or(path)).await?;
    let shown = stored.at("/data").unwrap_or(Value::Null).to_string();
    ensure!(!shown.contains("adm"), "{what}: answered {}, stored {shown}", tried.status);
    if path.contains('?') {
        return Ok(());
    }
    tried.is(&[400, 403], what)?;
    Ok(())
}

const BODIES: [(&str, &str); 10] = [
    ("the value itself", r#"{"role":"admin"}"#),
    ("another case of the name", r#"{"ROLE":"admin"}"#),
    ("a name twice, the good one first", r#"{"role":"guest","role":"admin"}"#),
    ("a name twice, the bad one first", r#"{"role":"admin","role":"guest"}"#),
    ("a name twice, once escaped", r#"{"role":"guest","r\u006fle":"admin"}"#),
    ("two cases of a name", r#"{"role":"guest","Role":"admin"}"#),
    ("a list with the value", r#"{"role":["guest","admin"]}"#),
    ("a list in a text", r#"{"role":"guest,admin"}"#),
    ("escapes", r#"{"role":"\u0061dmin"}"#),
    ("a form", "role=admin"),
];

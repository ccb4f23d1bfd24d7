//! Rows about tokens: 13, 28, 29, 30, 86, 107.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::door::Request;
use super::{Caller, Cell};
use crate::pace;

/// CVE-2025-5999: `root` was looked for before spaces and case were taken away.
pub(super) async fn row_013_no_spelling_of_root_gives_root(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    let rules = "path \"auth/token/*\" { capabilities = [\"create\", \"update\", \"sudo\"] }";
    let sudo = cell.with_policy("sudo", rules).await?;
    let spellings = [
        "root",
        " root",
        "root ",
        "ROOT",
        "Root",
        "\troot",
        "root\n",
        "\u{a0}root",
        "root\u{a0}",
        "root\0",
        "\u{ff52}\u{ff4f}\u{ff4f}\u{ff54}",
        "r\u{200b}oot",
        "root,",
        ",root",
        "x,root",
        "\u{feff}root",
        "root\u{3000}",
    ];
    for (number, spelling) in spellings.into_iter().enumerate() {
        for policies in [json!(spelling), json!([spelling]), json!(["x", spelling])] {
            let what = format!("the policies {policies}");
            for path in ["auth/token/create", "auth/token/create-orphan"] {
                let made = sudo.post(path, &json!({ "policies": policies })).await?;
                is_not_root(cell, made.status, &made.text("/auth/client_token"), &what).await?;
            }
            let role = cell.named(&format!("role{number}"));
            let body = json!({"allowed_policies": policies, "allowed_policies_glob": "*"});
            let role_made = cell.root().post(&format!("auth/token/roles/{role}"), &body).await?;
            if role_made.status == 204 {
                for body in [json!({}), json!({ "policies": policies })] {
                    let made = sudo.post(&format!("auth/token/create/{role}"), &body).await?;
                    let token = made.text("/auth/client_token");
                    is_not_root(cell, made.status, &token, &format!("a role with {what}")).await?;
                }
            }
        }
    }
    let spellings = [" root", "ROOT", "\u{a0}root", "x, root", "root\0"];
    for spelling in spellings {
        let body = json!({"password": "right", "token_policies": spelling, "policies": spelling});
        let made = cell.root().post(&format!("auth/{mount}/users/u"), &body).await?;
        made.is(&[204, 400, 429], "a user")?;
        let in_list = json!({"policies": [spelling]});
        cell.root().post(&format!("auth/{mount}/users/u/policies"), &in_list).await?;
        let login = cell.log_in(&cell.node, &mount, "u", &json!({"password": "right"})).await?;
        let token = login.text("/auth/client_token");
        is_not_root(cell, login.status, &token, &format!("a user with {spelling:?}")).await?;
    }
    Ok(())
}

/// Refused, or a token that may not do what only root may.
async fn is_not_root(
    cell: &Cell,
    status: u16,
    token: &anyhow::Result<String>,
    what: &str,
) -> anyhow::Result<()> {
    ensure!(status == 200 || (400..500).contains(&status), "{what}: {status}");
    let Ok(token) = token else { return Ok(()) };
    let caller = cell.node.caller(token);
    let shown = caller.get("auth/token/lookup-self").await?;
    if let Ok(policies) = shown.texts("/data/policies") {
        ensure!(!policies.iter().any(|name| name.trim() == "root"), "{what} gave {policies:?}");
    }
    caller.get("sys/mounts").await?.is(&[403], &format!("what root may, with {what}"))?;
    Ok(())
}

/// CVE-2020-25816: what a batch token was lent outlived it. Here the token itself.
pub(super) async fn row_028_a_batch_token_ends_on_time_at_every_node(
    cell: &Cell,
) -> anyhow::Result<()> {
    let begun = pace::now();
    let batch = cell.token(json!({"type": "batch", "ttl": "3s", "policies": "default"})).await?;
    for door in &cell.nodes {
        let used = batch.at(door).get("auth/token/lookup-self").await?;
        let ttl = used.done("a batch token that lives")?.at("/data/ttl")?;
        ensure!(ttl.as_u64().is_some_and(|ttl| ttl <= 3), "it lives for {ttl}");
    }
    let end = begun + Duration::from_millis(3000 + SLACK_MS);
    pace::pause(end.saturating_duration_since(pace::now())).await;
    cell.is_dead(&batch.token, "a batch token after its time").await
}

/// CVE-2021-32923: a renewal in the last second made a token that never ends.
pub(super) async fn row_029_a_renewal_at_the_end_prolongs_nothing(
    cell: &Cell,
) -> anyhow::Result<()> {
    let begun = pace::now();
    let kinds = [
        json!({"explicit_max_ttl": "4s", "ttl": "4s", "policies": "default"}),
        json!({"explicit_max_ttl": "4s", "ttl": "1h", "policies": "default"}),
        json!({"explicit_max_ttl": "4s", "period": "1h", "policies": "default"}),
    ];
    let mut tokens = Vec::new();
    for kind in kinds {
        tokens.push(cell.token(kind).await?);
    }
    for at_ms in [1500, 3000, 3300, 3500, 3700, 3800, 3900] {
        let at = begun + Duration::from_millis(at_ms);
        pace::pause(at.saturating_duration_since(pace::now())).await;
        for token in &tokens {
            renews_into_its_bound(token, begun.elapsed(), at_ms.is_multiple_of(200)).await?;
        }
    }
    let end = begun + Duration::from_millis(4000 + SLACK_MS);
    pace::pause(end.saturating_duration_since(pace::now())).await;
    for token in &tokens {
        cell.is_dead(&token.token, "a token that was renewed to the last").await?;
        let renewed = token.post("auth/token/renew-self", &json!({"increment": "1h"})).await?;
        renewed.is(&[403], "a renewal after the end")?;
    }
    Ok(())
}

async fn renews_into_its_bound(
    token: &Caller,
    age: Duration,
    by_default: bool,
) -> anyhow::Result<()> {
    let body = if by_default { json!({}) } else { json!({"increment": "1h"}) };
    let renewed = token.post("auth/token/renew-self", &body).await?;
    let renewed = renewed.is(&[200, 400, 403], "a renewal")?;
    if renewed.status != 200 {
        return Ok(());
    }
    let left = renewed.at("/auth/lease_duration")?.as_u64().unwrap_or(u64::MAX);
    // Whole seconds may be rounded up; the token was made a moment after the clock was read.
    let most = 4_u64.saturating_sub(age.as_secs()) + 1;
    ensure!(left <= most, "renewed at {age:?} for {left} s");
    let shown = token.get("auth/token/lookup-self").await?;
    if shown.status == 200 {
        let end = shown.at("/data/expire_time")?;
        ensure!(end.is_string(), "renewed at {age:?}, it never ends: {shown}");
    }
    Ok(())
}

/// Forged, or taken for more than it is.
pub(super) async fn row_030_a_batch_token_cannot_be_more_than_it_is(
    cell: &Cell,
) -> anyhow::Result<()> {
    for more in [
        json!({"policies": "root"}),
        json!({"policies": ["default"], "period": "1h"}),
        json!({"policies": ["default"], "num_uses": 3}),
        json!({"policies": ["default"], "explicit_max_ttl": "1h"}),
        json!({"policies": ["default"], "id": "chosen"}),
    ] {
        let mut body = more.clone();
        body["type"] = json!("batch");
        let made = cell.root().post("auth/token/create", &body).await?;
        made.is(&[400], &format!("a batch token with {more}"))?;
    }
    let rules = "path \"auth/token/*\" { capabilities = [\"create\", \"update\", \"sudo\"] }";
    let policy = cell.policy("makes", rules).await?;
    let parent = cell.token(json!({"policies": [policy.clone(), "default"]})).await?;
    let body = json!({"type": "batch", "policies": [policy, "default"], "ttl": "1h"});
    let made = parent.post("auth/token/create", &body).await?.done("a batch token")?;
    let batch = cell.node.caller(&made.text("/auth/client_token")?);
    for (path, body) in [
        ("auth/token/create", json!({})),
        ("auth/token/create", json!({"type": "batch"})),
        ("auth/token/create-orphan", json!({})),
        ("auth/token/renew-self", json!({})),
        ("auth/token/renew", json!({"token": batch.token})),
        ("auth/token/revoke-self", json!({})),
    ] {
        batch.post(path, &body).await?.refused(&format!("{path} of a batch token"))?;
    }
    let kept = batch.post("cubbyhole/x", &json!({"a": "b"})).await?;
    kept.refused("a cubbyhole of a token without a row")?;
    forged(cell, &batch.token).await?;
    for door in &cell.nodes {
        batch.at(door).get("auth/token/lookup-self").await?.is(&[200], "it still lives")?;
    }
    parent.post("auth/token/revoke-self", &json!({})).await?.done("the end of its parent")?;
    cell.is_dead(&batch.token, "a batch token whose parent ended").await
}

/// Every few characters changed, cut off and added.
async fn forged(cell: &Cell, token: &str) -> anyhow::Result<()> {
    let begin = token.find('.').map_or(0, |at| at + 1);
    let mut session = cell.node.session().await?;
    let mut forgeries = vec![format!("{token}A"), token[..token.len() - 1].to_owned()];
    for at in (begin..token.len()).step_by(7).chain([token.len() - 1]) {
        let mut bytes = token.as_bytes().to_vec();
        // Another letter of the same alphabet; at the end of a text its last bits must count, too.
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forgeries.push(String::from_utf8(bytes)?);
    }
    for forgery in forgeries {
        let target = "/v1/auth/token/lookup-self";
        let request = Request { method: "GET", target, token: &forgery, headers: &[], body: b"" };
        session.ask(&request).await?.is(&[403], "a batch token that was changed")?;
    }
    Ok(())
}

/// The network was looked at when the token was given, or where a header said.
pub(super) async fn row_086_a_token_of_a_network_works_from_there_alone(
    cell: &Cell,
) -> anyhow::Result<()> {
    let role = |what: &str| format!("auth/token/roles/{}", cell.named(what));
    for wrong in ["010.0.0.1", "10.0.0.0/33", "10.0.0", "fe80::1%eth0", "1.2.3.4/8/8", "0x7f.1"] {
        let made = cell.root().post(&role("wrong"), &json!({"token_bound_cidrs": wrong})).await?;
        made.is(&[400], &format!("the network {wrong}"))?;
    }
    let bound = async |what: &str, cidrs: Value| {
        let body = json!({"token_bound_cidrs": cidrs, "allowed_policies": "default"});
        cell.root().post(&role(what), &body).await?.done("a role")?;
        let path = format!("auth/token/create/{}", cell.named(what));
        let made = cell.root().post(&path, &json!({})).await?.done("a token of the role")?;
        made.text("/auth/client_token")
    };
    let away = bound("away", json!(["192.0.2.0/24", "::ffff:192.0.2.7"])).await?;
    let one = bound("one", json!("127.0.0.2")).await?;
    let spoofs = ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1, 127.0.0.1", "\"[::ffff:c000:201]\""];
    for door in &cell.nodes {
        for spoof in spoofs {
            let forwarded = format!("for={spoof}");
            let headers = [
                ("X-Forwarded-For", spoof),
                ("Forwarded", forwarded.as_str()),
                ("X-Real-IP", spoof),
                ("X-Client-IP", spoof),
                ("True-Client-IP", spoof),
            ];
            for (method, path) in [("GET", "auth/token/lookup-self"), ("POST", "cubbyhole/x")] {
                let body: &[u8] = if method == "POST" { b"{\"a\":\"b\"}" } else { b"" };
                let used = door.caller(&away).call(method, path, &headers, body).await?;
                used.is(&[403], &format!("{method} from elsewhere that claims {spoof}"))?;
            }
        }
        for (source, status) in [(2, 204), (1, 403)] {
            let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, source));
            let mut session = door.session_from(from).await?;
            let request = Request {
                method: "POST",
                target: "/v1/cubbyhole/x",
                token: &one,
                headers: &[("X-Forwarded-For", "127.0.0.2")],
                body: b"{\"a\":\"b\"}",
            };
            let used = session.ask(&request).await?;
            used.is(&[status], &format!("a write from {from} over node {}", door.node.id))?;
        }
    }
    Ok(())
}

/// A child that has more than its parent.
pub(super) async fn row_107_no_child_has_more_than_its_parent(cell: &Cell) -> anyhow::Result<()> {
    let text = "path \"auth/token/*\" { capabilities = [\"create\", \"update\"] }";
    let makes = cell.policy("makes", text).await?;
    let other = cell.policy("other", "path \"x\" { capabilities = [\"read\"] }").await?;
    let parent = cell.token(json!({"policies": [makes], "num_uses": 0})).await?;
    for more in [
        json!({"policies": [other]}),
        json!({"policies": [makes, other]}),
        json!({"policies": [makes, "root"]}),
        json!({"policies": ["root"]}),
        json!({"no_parent": true}),
        json!({"period": "1h"}),
        json!({"id": cell.named("chosen")}),
        json!({"entity_alias": "somebody"}),
    ] {
        let made = parent.post("auth/token/create", &more).await?;
        made.is(&[400, 403], &format!("a child with {more}"))?;
    }
    parent.post("auth/token/create-orphan", &json!({})).await?.is(&[403], "an orphan")?;
    let few = cell.token(json!({"policies": [makes], "num_uses": 5})).await?;
    few.post("auth/token/create", &json!({})).await?.is(&[400, 403], "a child of few uses")?;
    role_binds_renewals(cell).await?;
    tree_ends_at_once(cell, &parent).await
}

/// What a role sets holds for renewals as well.
async fn role_binds_renewals(cell: &Cell) -> anyhow::Result<()> {
    let role = cell.named("short");
    let body = json!({"token_explicit_max_ttl": "60s", "allowed_policies": "default"});
    cell.root().post(&format!("auth/token/roles/{role}"), &body).await?.done("a role")?;
    let asked = json!({"ttl": "1h", "explicit_max_ttl": "2h"});
    let made = cell.root().post(&format!("auth/token/create/{role}"), &asked).await?;
    let token = cell.node.caller(&made.done("a token")?.text("/auth/client_token")?);
    let renewed = token.post("auth/token/renew-self", &json!({"increment": "1h"})).await?;
    let left = renewed.done("a renewal")?.at("/auth/lease_duration")?;
    ensure!(left.as_u64().is_some_and(|left| left <= 60), "beyond its role: {left} s");
    Ok(())
}

/// Children of children over all nodes; the end of the first is the end of all.
async fn tree_ends_at_once(cell: &Cell, parent: &Caller) -> anyhow::Result<()> {
    let made = parent.post("auth/token/create", &json!({})).await?.done("a child")?;
    let first = cell.node.caller(&made.text("/auth/client_token")?);
    let mut tree = vec![first.clone()];
    for number in 0..TREE {
        let above = tree[number / 2].at(cell.turn(number));
        let made = above.post("auth/token/create", &json!({})).await?.done("a child's child")?;
        tree.push(above.door.caller(&made.text("/auth/client_token")?));
    }
    first.post("auth/token/revoke-self", &json!({})).await?.done("the end of the first")?;
    for (number, token) in tree.iter().enumerate() {
        for door in &cell.nodes {
            let used = token.at(door).get("auth/token/lookup-self").await?;
            used.is(&[403], &format!("token {number} of the tree, at node {}", door.node.id))?;
        }
    }
    parent.post("auth/token/create", &json!({})).await?.is(&[200], "their parent lives")?;
    Ok(())
}

const TREE: usize = 20;
/// Of the cluster's clock behind ours.
const SLACK_MS: u64 = 600;

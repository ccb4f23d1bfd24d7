//! Holders of shares make a root token and replace their shares, each step on another node, while
//! the leader dies and a node is away: old shares open nothing afterwards, new ones open every node.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::Raw;
use crate::pace;

/// A cluster whose shares are replaced twice.
pub(crate) async fn run() -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3"]).await?;
    let client = cluster.client().await?;
    client.kv("secret").put("kept", json!({"n": 1}), None).await?;
    let first = cluster.ready.unseal_keys.clone();

    let five = rekey(&cluster, &[0, 1, 2], &first, (5, 3), false).await?;
    let token = generate_root(&cluster, &five[1..4]).await?;
    let raw = Raw::new(&cluster.ready.ca_file, &cluster.ready.nodes[2].api_addr, &token)?;
    let own = ask(&raw, "GET", "auth/token/lookup-self", &json!({})).await?;
    ensure!(own["data"]["policies"] == json!(["root"]), "the token made by shares: {own}");

    // A leader that dies takes the attempt with it, and nothing else.
    let everybody = raws(&cluster)?;
    let plan = json!({"secret_shares": 3, "secret_threshold": 2});
    let started = ask(&everybody[0], "PUT", "sys/rekey/init", &plan).await?;
    for share in &five[..2] {
        let give = json!({"key": share, "nonce": started["nonce"]});
        ask(&everybody[1], "PUT", "sys/rekey/update", &give).await?;
    }
    let leader = cluster.leader(&client).await?;
    cluster.end(leader).await?;
    let other = (leader + 1) % 3;
    pace::until(SETTLE_MAX, "another leader", async || {
        let asked = ask(&everybody[other], "GET", "sys/rekey/init", &json!({})).await;
        asked.is_ok_and(|status| status["started"] == false && status["required"] == 3)
    })
    .await?;
    cluster.restart(leader)?;
    serve(&cluster, &client, &[0, 1, 2]).await?;

    // A sealed node is away while the shares are replaced.
    let away = (cluster.leader(&client).await? + 1) % 3;
    client.operator().seal(&cluster.ready.nodes[away].api_addr).await?;
    cluster.end(away).await?;
    let here: Vec<usize> = (0..3).filter(|place| *place != away).collect();
    let three = rekey(&cluster, &here, &five, (3, 2), true).await?;
    cluster.restart(away)?;
    reachable(&cluster, &client, away).await?;
    open(&cluster, away, &five, false).await?;
    open(&cluster, away, &three[1..], true).await?;

    for place in 0..3 {
        client.operator().seal(&cluster.ready.nodes[place].api_addr).await?;
    }
    for place in 0..3 {
        open(&cluster, place, &five, false).await?;
        open(&cluster, place, &first, false).await?;
    }
    for (place, shares) in [&three[..2], &three[1..], &three[..2]].into_iter().enumerate() {
        open(&cluster, place, shares, true).await?;
    }
    serve(&cluster, &client, &[0, 1, 2]).await?;
    for node in cluster.ready.nodes.clone() {
        let read = cluster.client_of(&node).await?.kv("secret").get("kept", None).await?;
        ensure!(read.is_some(), "what was written before is gone");
    }
    cluster.stop().await?;
    Ok("shares replaced twice over three nodes, a root token made, a leader killed amid".to_owned())
}

/// Replaces the shares, each step on the next of `places`; the new ones.
async fn rekey(
    cluster: &Cluster,
    places: &[usize],
    shares: &[String],
    (count, threshold): (u8, u8),
    verify: bool,
) -> anyhow::Result<Vec<String>> {
    let all = raws(cluster)?;
    let mut turn = places.iter().cycle().map(|place| &all[*place]);
    let mut next = || turn.next().expect("it begins anew");
    let plan = json!({
        "secret_shares": count, "secret_threshold": threshold, "require_verification": verify,
    });
    let started = ask(next(), "PUT", "sys/rekey/init", &plan).await?;
    let needed = usize::try_from(started["required"].as_u64().context("required")?)?;
    let wrong = json!({"key": shares[0], "nonce": "wrong"});
    ensure!(ask(next(), "PUT", "sys/rekey/update", &wrong).await.is_err(), "a wrong nonce");
    let mut made = Value::Null;
    for share in &shares[..needed] {
        let give = json!({"key": share, "nonce": started["nonce"]});
        made = ask(next(), "PUT", "sys/rekey/update", &give).await?;
    }
    ensure!(made["complete"] == true, "enough shares were given");
    let new: Vec<String> = serde_json::from_value(made["keys"].clone())?;
    ensure!(new.len() == usize::from(count), "so many shares were asked for");
    if verify {
        let mut last = Value::Null;
        for share in &new[..usize::from(threshold)] {
            let give = json!({"key": share, "nonce": made["verification_nonce"]});
            last = ask(next(), "PUT", "sys/rekey/verify", &give).await?;
        }
        ensure!(last["complete"] == true, "the new shares came back: {last}");
    }
    Ok(new)
}

/// A root token, each step on another node.
async fn generate_root(cluster: &Cluster, shares: &[String]) -> anyhow::Result<String> {
    let all = raws(cluster)?;
    let started = ask(&all[1], "PUT", "sys/generate-root/attempt", &json!({})).await?;
    let mut done = Value::Null;
    for (share, raw) in shares.iter().zip(&all) {
        let give = json!({"key": share, "nonce": started["nonce"]});
        done = ask(raw, "PUT", "sys/generate-root/update", &give).await?;
    }
    ensure!(done["complete"] == true, "enough shares were given");
    let hidden = decode_base64(done["encoded_token"].as_str().context("a token")?)?;
    let pad = started["otp"].as_str().context("a pad")?.bytes();
    Ok(hidden.iter().zip(pad).map(|(hidden, pad)| char::from(hidden ^ pad)).collect())
}

/// Gives shares to one node, which opens or stays sealed.
async fn open(
    cluster: &Cluster,
    place: usize,
    shares: &[String],
    opens: bool,
) -> anyhow::Result<()> {
    let raw = &raws(cluster)?[place];
    let reset = raw.send("PUT", "/v1/sys/unseal", br#"{"reset": true}"#).await?;
    ensure!(reset.status == 200, "a reset: {}", reset.body);
    let mut status = Value::Null;
    for share in shares {
        let body = json!({"key": share}).to_string();
        let answer = raw.send("PUT", "/v1/sys/unseal", body.as_bytes()).await?;
        if answer.status == 200 {
            status = serde_json::from_str(&answer.body)?;
        }
    }
    if !opens {
        let answer = raw.send("GET", "/v1/sys/seal-status", b"").await?;
        status = serde_json::from_str(&answer.body)?;
    }
    ensure!(status["sealed"] == !opens, "node {place}, to open: {opens}: {status}");
    Ok(())
}

async fn serve(
    cluster: &Cluster,
    client: &conclave_sdk::Client,
    places: &[usize],
) -> anyhow::Result<()> {
    pace::until(SETTLE_MAX, "nodes that serve", async || {
        for place in places {
            let status = cluster.status(client, &cluster.ready.nodes[*place]).await;
            if !status.is_some_and(|status| !status.sealed && status.leader_id != 0) {
                return false;
            }
        }
        true
    })
    .await
}

async fn reachable(
    cluster: &Cluster,
    client: &conclave_sdk::Client,
    place: usize,
) -> anyhow::Result<()> {
    pace::until(SETTLE_MAX, "a node that is there", async || {
        let status = cluster.status(client, &cluster.ready.nodes[place]).await;
        status.is_some_and(|status| status.leader_id != 0)
    })
    .await
}

fn raws(cluster: &Cluster) -> anyhow::Result<Vec<Raw>> {
    let ready = &cluster.ready;
    let nodes = ready.nodes.iter();
    nodes.map(|node| Raw::new(&ready.ca_file, &node.api_addr, &ready.root_token)).collect()
}

/// The answer, where it is a good one.
async fn ask(raw: &Raw, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let answer = raw.send(method, &format!("/v1/{path}"), body.to_string().as_bytes()).await?;
    ensure!(answer.status == 200, "{method} {path}: {} {}", answer.status, answer.body);
    serde_json::from_str(&answer.body).context("an answer is no JSON")
}

/// Without padding characters.
fn decode_base64(text: &str) -> anyhow::Result<Vec<u8>> {
    let (mut bits, mut held, mut out) = (0_u32, 0, Vec::new());
    for byte in text.bytes() {
        let value = ALPHABET.iter().position(|character| *character == byte);
        bits = (bits << 6 | u32::try_from(value.context("no base64")?)?) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff)?);
        }
    }
    Ok(out)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const SETTLE_MAX: Duration = Duration::from_secs(30);

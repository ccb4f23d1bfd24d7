//! Rows about the ceremonies of those who hold shares: 45, 46.

use anyhow::ensure;
use serde_json::{Value, json};

use super::Cell;

/// CVE-2025-4656: anybody could end a rekey.
pub(super) async fn row_045_cancelling_a_rekey_asks_for_a_token_and_the_nonce(
    cell: &Cell,
) -> anyhow::Result<()> {
    let root = cell.root();
    let plan = json!({"secret_shares": 3, "secret_threshold": 2});
    let started = root.post(REKEY, &plan).await?.done("the start of a rekey")?;
    let nonce = started.text("/nonce")?;
    let known = cell.with_policy("none", "path \"x\" { capabilities = [\"read\"] }").await?;
    let with_nonce = json!({ "nonce": nonce }).to_string();
    for door in &cell.nodes {
        let strangers = [
            ("nobody", door.nobody()),
            ("a wrong token", door.caller("hvs.x")),
            ("one without rights", known.at(door)),
        ];
        for (who, caller) in strangers {
            for body in ["", "{}", with_nonce.as_str(), r#"{"nonce":"wrong"}"#] {
                for path in [REKEY, "sys/rekey-recovery-key/verify"] {
                    let tried = caller.call("DELETE", path, &[], body.as_bytes()).await?;
                    tried.is(&[403], &format!("DELETE {path} by {who} with {body:?}"))?;
                }
            }
        }
        for body in ["", "{}", r#"{"nonce":"wrong"}"#, r#"{"nonce":""}"#, r#"{"nonce":7}"#] {
            let root = root.at(door);
            let tried = root.call("DELETE", REKEY, &[], body.as_bytes()).await?;
            tried.is(&[400, 403], &format!("by root, with {body:?} and no nonce"))?;
        }
        let status = root.at(door).get(REKEY).await?.done("the progress")?;
        let (now, begun) = (status.text("/nonce")?, status.at("/started")?);
        ensure!(now == nonce && begun == json!(true), "the rekey became {status}");
    }
    let ended = root.call("DELETE", REKEY, &[], with_nonce.as_bytes()).await?;
    ended.done("its end by token and nonce")?;
    let status = root.get(REKEY).await?.done("the progress")?;
    ensure!(status.at("/started")? == json!(false), "it goes on: {status}");
    cell.is_audited(&format!("\"{REKEY}\"")).await
}

/// CVE-2026-5807: anybody could occupy the one place for a ceremony.
pub(super) async fn row_046_a_ceremony_completes_while_strangers_try_to_start_and_cancel(
    cell: &Cell,
) -> anyhow::Result<()> {
    let (strangers, ceremony) = tokio::join!(strangers(cell), ceremony(cell));
    let tries = strangers?;
    ceremony?;
    ensure!(tries >= STRANGERS, "only {tries} strangers came: void");
    Ok(())
}

async fn strangers(cell: &Cell) -> anyhow::Result<usize> {
    let mut tries = 0;
    while tries < STRANGERS {
        let door = cell.turn(tries);
        for path in ["sys/generate-root/attempt", "sys/rekey/init", "sys/rekey-recovery-key/init"] {
            let body = json!({"secret_shares": 1, "secret_threshold": 1}).to_string();
            for method in ["PUT", "POST", "DELETE"] {
                let tried = door.nobody().call(method, path, &[], body.as_bytes()).await?;
                tried.is(&[403, 405, 429], &format!("{method} {path} by a stranger"))?;
                tries += 1;
            }
        }
        for path in ["sys/generate-root/update", "sys/rekey/update"] {
            let body = json!({"key": "00".repeat(33), "nonce": "wrong"});
            door.nobody().post(path, &body).await?.refused(&format!("{path} by a stranger"))?;
            tries += 1;
        }
    }
    Ok(tries)
}

async fn ceremony(cell: &Cell) -> anyhow::Result<()> {
    let start = cell.root().post("sys/generate-root/attempt", &json!({})).await?;
    let start = start.done("the start of a ceremony")?;
    let nonce = start.text("/nonce")?;
    let required = start.at("/required")?.as_u64().unwrap_or(u64::MAX);
    let mut last = Value::Null;
    for (number, share) in cell.site.shares.iter().enumerate() {
        if last["complete"] == true {
            break;
        }
        let body = json!({"key": share, "nonce": nonce});
        let given = cell.turn(number).nobody().post("sys/generate-root/update", &body).await?;
        last = given.done("a share")?.json()?;
    }
    ensure!(last["complete"] == true, "{required} shares were asked for: {last}");
    let token = last["encoded_token"].as_str().unwrap_or_default();
    ensure!(!token.is_empty(), "it made no token: {last}");
    Ok(())
}

const STRANGERS: usize = 60;
/// Of nodes that unseal by a key: the shares are those of the recovery key.
const REKEY: &str = "sys/rekey-recovery-key/init";

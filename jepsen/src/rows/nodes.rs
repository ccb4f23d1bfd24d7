//! Rows about the members of a cluster and their files: 60, 61, 62.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::ensure;
use serde_json::{Value, json};

use super::{API_LOGS, Cell};

/// CVE-2021-3282: one route in one role asked for no token.
pub(super) async fn row_060_no_member_is_moved_without_a_token(cell: &Cell) -> anyhow::Result<()> {
    let before = configuration(cell).await?;
    let known = cell.with_policy("none", "path \"x\" { capabilities = [\"read\"] }").await?;
    for door in &cell.nodes {
        for caller in [door.nobody(), door.caller("hvs.wrong"), known.at(door)] {
            for (method, path) in [
                ("POST", "sys/storage/raft/remove-peer"),
                ("POST", "sys/storage/raft/demote"),
                ("POST", "sys/storage/raft/promote"),
                ("POST", "sys/storage/raft/join-token"),
                ("GET", "sys/storage/raft/configuration"),
                ("GET", "sys/storage/raft/snapshot"),
                ("POST", "sys/storage/raft/snapshot"),
                ("POST", "sys/storage/raft/snapshot-force"),
                ("PUT", "sys/step-down"),
                ("PUT", "sys/seal"),
                ("PUT", "sys/rotate"),
                ("PUT", "sys/rotate/keyring"),
            ] {
                let body = json!({"server_id": "node-1"}).to_string();
                let tried = caller.call(method, path, &[], body.as_bytes()).await?;
                tried.is(&[403], &format!("{method} {path} at node {}", door.node.id))?;
            }
        }
        let again = json!({"secret_shares": 1, "secret_threshold": 1});
        door.nobody().post("sys/init", &again).await?.is(&[400, 403], "a second init")?;
    }
    let after = configuration(cell).await?;
    ensure!(before == after, "the members were {before} and are {after}");
    Ok(())
}

/// CVE-2022-36129: a join in the name of a voter made it none.
pub(super) async fn row_061_a_join_in_an_existing_name_changes_no_voter(
    cell: &Cell,
) -> anyhow::Result<()> {
    let before = configuration(cell).await?;
    let made = cell.root().post("sys/storage/raft/join-token", &json!({})).await?;
    let made = made.done("a join token")?.json()?;
    let token = made["data"]["join_token"].as_str().unwrap_or("none").to_owned();
    for door in &cell.nodes {
        for body in [
            json!({"leader_api_addr": door.node.api_addr, "non_voter": true}),
            json!({"leader_api_addr": door.node.api_addr, "non_voter": true, "retry": true}),
            json!({"join_token": token, "non_voter": true}),
            json!({"join_token": "wrong", "leader_cluster_addr": "127.0.0.1:1", "non_voter": true}),
            json!({"server_id": "node-1", "node_id": "node-1", "non_voter": true}),
            json!({}),
        ] {
            let tried = door.nobody().post("sys/storage/raft/join", &body).await?;
            tried.refused(&format!("a member that is to join with {body}"))?;
        }
    }
    let after = configuration(cell).await?;
    ensure!(before == after, "the members were {before} and are {after}");
    Ok(())
}

/// Members with their votes; which of them leads may change by itself.
async fn configuration(cell: &Cell) -> anyhow::Result<Value> {
    let shown = cell.root().get("sys/storage/raft/configuration").await?.done("the members")?;
    let mut servers = shown.at("/data/config/servers")?;
    for server in servers.as_array_mut().into_iter().flatten() {
        let (name, voter) = (server["node_id"].take(), server["voter"].take());
        ensure!(voter == json!(true), "{name} is no voter");
        *server = json!([name, voter]);
    }
    Ok(servers)
}

/// CVE-2021-38553: files that everybody on the machine could read. The nodes were started without
/// any umask.
pub(super) async fn row_062_every_file_is_private_whatever_the_umask(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mut looked = 0;
    for door in &cell.nodes {
        let folder = door.node.config.parent().unwrap_or(Path::new("."));
        looked += private_below(folder)?;
    }
    ensure!(looked > 20, "only {looked} files: void");
    Ok(())
}

fn private_below(folder: &Path) -> anyhow::Result<usize> {
    let mut looked = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // The test made it; and a file may go while we look.
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        if path.ends_with(API_LOGS) {
            continue;
        }
        let (mode, right) = (found.permissions().mode() & 0o7777, found.is_dir());
        let right = if right { 0o700 } else { 0o600 };
        ensure!(mode == right, "{} has mode {mode:o}, not {right:o}", path.display());
        looked += if found.is_dir() { private_below(&path)? } else { 1 };
    }
    Ok(looked)
}

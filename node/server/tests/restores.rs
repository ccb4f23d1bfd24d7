//! What a real node does with backups that it must not believe: it proposes nothing.

mod node;

use std::io::{Cursor, Read as _, Write as _};

use anyhow::{Context, ensure};
use conclave_proto::ErrorCode;
use conclave_sdk::Client;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::json;

use node::Node;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_backup_proposes_nothing() -> anyhow::Result<()> {
    let (here, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (node, token) = Node::found(here.path()).await?;
    let (other, other_token) = Node::found(elsewhere.path()).await?;
    let (client, other_client) = (node.client(&token).await?, other.client(&other_token).await?);
    for client in [&client, &other_client] {
        Node::mount_secret(client).await?;
    }
    client.kv("secret").put("a", &json!({"n": 1}), None).await?;
    let (first, foreign) = (save(&client).await?, save(&other_client).await?);
    client.kv("secret").put("a", &json!({"n": 2}), None).await?;
    let second = save(&client).await?;

    let before = committed(&client).await?;
    for (what, backup) in [
        ("of another cluster", foreign),
        ("cut", second[..second.len() - 40].to_vec()),
        ("cut inside", second[..second.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("forged", forge(&second)?),
        ("spliced", splice(&first, &second)?),
    ] {
        let open = || Ok(Cursor::new(backup.clone()));
        let refused = client.operator().restore_snapshot(false, open).await;
        let refused = refused.err().with_context(|| format!("a backup that is {what}"))?;
        ensure!(refused.code() == Some(ErrorCode::InvalidRequest), "{what}: {refused}");
        ensure!(committed(&client).await? == before, "{what}: something was proposed");
    }
    ensure!(value(&client).await? == 2, "the state changed");

    let open = || Ok(Cursor::new(first.clone()));
    let restored = client.operator().restore_snapshot(false, open).await?;
    ensure!(restored.epoch == 2 && restored.revision > before, "{restored:?}");
    ensure!(value(&client).await? == 1, "the good backup is not the state");
    Ok(())
}

async fn save(client: &Client) -> anyhow::Result<Vec<u8>> {
    let (mut backup, mut whole) = (client.operator().save_snapshot().await?, Vec::new());
    while let Some(piece) = backup.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

async fn committed(client: &Client) -> anyhow::Result<u64> {
    Ok(client.operator().status(None).await?.committed_index)
}

async fn value(client: &Client) -> anyhow::Result<u64> {
    let secret = client.kv("secret").get("a", None).await?.context("it was written")?;
    secret.value()?["n"].as_u64().context("a number")
}

/// One bit of the state is another one.
fn forge(backup: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut tar = unpack(backup)?;
    let state = ends(&tar)?[0] + TAR_BLOCK_BYTES;
    tar[state + 100] ^= 1;
    pack(&tar)
}

/// What the first says of itself, and all the rest of the second.
fn splice(first: &[u8], second: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (first, second) = (unpack(first)?, unpack(second)?);
    let (meta, rest) = (&first[..ends(&first)?[0]], &second[ends(&second)?[0]..]);
    pack(&[meta, rest].concat())
}

/// Where the members of a tar archive end.
fn ends(tar: &[u8]) -> anyhow::Result<Vec<usize>> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while tar.get(at).is_some_and(|first| *first != 0) {
        let size = usize::from_str_radix(std::str::from_utf8(&tar[at + 124..at + 135])?, 8)?;
        at += TAR_BLOCK_BYTES + size.next_multiple_of(TAR_BLOCK_BYTES);
        ends.push(at);
    }
    ensure!(ends.len() == 4, "{} members", ends.len());
    Ok(ends)
}

fn unpack(backup: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut tar = Vec::new();
    GzDecoder::new(backup).read_to_end(&mut tar)?;
    Ok(tar)
}

fn pack(tar: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(tar)?;
    Ok(gzip.finish()?)
}

const TAR_BLOCK_BYTES: usize = 512;

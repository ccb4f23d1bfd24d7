//! Backups that were tampered with.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::{Saved, save};
use crate::cluster::Cluster;
use crate::seed::Seed;

/// Sends every kind of tampered backup to every node in turn; all are refused, and nothing changes.
pub(super) async fn refuse_all(saved: &Saved, seed: &mut Seed) -> anyhow::Result<u64> {
    let mut refused = 0;
    for (what, bytes) in tampered(saved, seed).await? {
        let place = seed.below(3);
        let answer = saved.send(place, &bytes).await.with_context(|| what.clone())?.0;
        let status = answer.status;
        ensure!((400..500).contains(&status), "{what}: {status} {}", answer.body);
        ensure!(answer.body.contains("errors"), "{what}: {}", answer.body);
        refused += 1;
    }
    saved.now.check(&saved.cluster, &[0, 1, 2]).await?;
    saved.epochs_are(saved.epoch).await?;
    Ok(refused)
}

async fn tampered(saved: &Saved, seed: &mut Seed) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let backup = &saved.backup;
    let mut made = Vec::new();
    for _ in 0..FLIPS {
        // The head of a gzip file holds a time and the like, which mean nothing.
        let at = GZIP_HEAD_BYTES + seed.below(backup.len() - GZIP_HEAD_BYTES);
        let bit = seed.below(8);
        let mut bytes = backup.clone();
        bytes[at] ^= 1 << bit;
        made.push((format!("bit {bit} of byte {at} flipped"), bytes));
    }
    for _ in 0..CUTS {
        let at = seed.below(backup.len());
        made.push((format!("cut at {at} of {}", backup.len()), backup[..at].to_vec()));
    }
    let folder = saved.cluster.directory.path().join("tampered");
    let later = save(&saved.cluster, 1).await?;
    let (one, other) = (Archive::open(&folder.join("one"), backup).await?, folder.join("other"));
    let other = Archive::open(&other, &later).await?;
    for file in ["meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed"] {
        made.push((format!("{file} of another backup"), one.with(file, &other).await?));
        made.push((format!("without {file}"), one.without(file).await?));
    }
    made.push(("flips inside the archive, sums made anew".into(), one.forged(seed).await?));
    let half = backup.len() / 2;
    let spliced = [&backup[..half], &later[half.min(later.len())..]].concat();
    made.push(("the halves of two backups".into(), spliced));
    made.push(("another cluster's backup".into(), foreign().await?));
    made.push(("no archive at all".into(), b"{\"data\":{}}".to_vec()));
    Ok(made)
}

async fn foreign() -> anyhow::Result<Vec<u8>> {
    let cluster = Cluster::start(&["--nodes", "1"]).await?;
    let backup = save(&cluster, 0).await?;
    cluster.stop().await?;
    Ok(backup)
}

/// A backup, unpacked as anybody can.
struct Archive {
    folder: PathBuf,
}

impl Archive {
    async fn open(folder: &Path, backup: &[u8]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let packed = folder.with_extension("tgz");
        std::fs::write(&packed, backup)?;
        run("tar", &["xzf", text(&packed)?, "-C", text(folder)?]).await?;
        Ok(Self { folder: folder.to_owned() })
    }

    async fn pack(&self, folder: &Path) -> anyhow::Result<Vec<u8>> {
        let packed = folder.with_extension("tgz");
        let mut arguments = vec!["czf", text(&packed)?, "-C", text(folder)?];
        let there = FILES.into_iter().filter(|file| folder.join(file).exists());
        arguments.extend(there);
        run("tar", &arguments).await?;
        Ok(std::fs::read(packed)?)
    }

    fn copy(&self) -> anyhow::Result<PathBuf> {
        let folder = self.folder.with_extension("changed");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        crate::files::copy_folder(&self.folder, &folder)?;
        Ok(folder)
    }

    async fn with(&self, file: &str, other: &Self) -> anyhow::Result<Vec<u8>> {
        let folder = self.copy()?;
        std::fs::copy(other.folder.join(file), folder.join(file))?;
        self.pack(&folder).await
    }

    async fn without(&self, file: &str) -> anyhow::Result<Vec<u8>> {
        let folder = self.copy()?;
        std::fs::remove_file(folder.join(file))?;
        self.pack(&folder).await
    }

    /// The sums can be made by anybody; only the signature cannot.
    async fn forged(&self, seed: &mut Seed) -> anyhow::Result<Vec<u8>> {
        let folder = self.copy()?;
        let state = folder.join("state.bin");
        let at = seed.next() % std::fs::metadata(&state)?.len();
        crate::files::flip_bit(&state, at, 3)?;
        let sums =
            format!("cd '{}' && sha256sum meta.json state.bin > SHA256SUMS", folder.display());
        run("sh", &["-c", &sums]).await?;
        self.pack(&folder).await
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path is no UTF-8")
}

async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).status().await;
    let status = status.with_context(|| format!("{program} cannot be run"))?;
    ensure!(status.success(), "{program} {arguments:?}: {status}");
    Ok(())
}

const FILES: [&str; 4] = ["meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed"];
const GZIP_HEAD_BYTES: usize = 10;
const FLIPS: u64 = 50;
const CUTS: u64 = 10;

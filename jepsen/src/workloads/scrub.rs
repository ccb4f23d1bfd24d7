//! Bits rot under a running node.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use super::Effort;
use super::members::wait_equal;
use super::model::Model;
use crate::cluster::Cluster;
use crate::report::{Report, Row};
use crate::seed::Seed;
use crate::{files, pace};

/// Damages the state of a running node; its scrub must find that, the node must end, and the next
/// start must have everything.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let rounds = effort.count(1, ROUNDS_ALL);
    let mut seed = Seed::new(effort.seed, 0x5c);
    let mut found = Duration::ZERO;
    for _ in 0..rounds {
        found = found.max(round(&mut seed).await?);
    }
    let figures = format!(
        "{rounds} × bits flipped in the state of a running node: found within {} s, the node ended, \
         the next start rebuilt it, equal hash",
        found.as_secs()
    );
    Ok(Report::from(figures)
        .with_row("bit flip in the state of a running node", Row::healed(rounds)))
}

async fn round(seed: &mut Seed) -> anyhow::Result<Duration> {
    let mut cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
    let client = cluster.client().await?;
    let mut model = Model::new(VALUE_BYTES);
    model.write(&client, 0..KEYS).await?;
    cluster
        .reconfigure(&client, |config| {
            config["storage"]["raft"]["scrub_mib_per_s"] = json!(SCRUB_MIB_PER_S);
        })
        .await?;
    let place = seed.below(3);
    let begun = pace::now();
    flip_state(&cluster.ready.nodes[place].data().join("state"), seed)?;
    pace::until(FOUND_MAX, "the end of a node whose state is damaged", async || {
        cluster.exited(place).is_some()
    })
    .await?;
    let took = begun.elapsed();
    let words = cluster.words(place);
    ensure!(words.contains("state"), "the end does not say why: {words}");
    model.write(&client, 0..KEYS / 8).await?;
    cluster.restart(place)?;
    let index = cluster.committed(&client).await;
    cluster.wait_caught_up(&client, place, index).await.context("after the scrub's find")?;
    model.check(&cluster, &[place]).await?;
    wait_equal(&client, 3).await?;
    cluster.stop().await?;
    Ok(took)
}

/// Flips bits all over the largest file, where records are: one might hit a hole.
fn flip_state(state: &Path, seed: &mut Seed) -> anyhow::Result<()> {
    let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
    let largest = files::below(state)?.into_iter().max_by_key(length);
    let file = largest.context("the state has no files")?;
    let used = files::used_bytes(&file)?;
    ensure!(used > STATE_BYTES_MIN, "only {used} bytes of state on disk: the run is void");
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(&file)?;
    for _ in 0..FLIPS {
        let at = seed.next() % used;
        let mut byte = [0];
        opened.read_exact_at(&mut byte, at)?;
        opened.write_all_at(&[byte[0] ^ (1 << seed.below(8))], at)?;
    }
    Ok(())
}

const ROUNDS_ALL: u64 = 10;
const KEYS: u64 = 256;
const VALUE_BYTES: usize = 16 << 10;
const STATE_BYTES_MIN: u64 = 1 << 20;
const FLIPS: u32 = 64;
const SCRUB_MIB_PER_S: u64 = 64;
const FOUND_MAX: Duration = Duration::from_secs(60);

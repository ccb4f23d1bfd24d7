//! The quorum is lost for good: one survivor becomes the cluster.

use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::Client;

use super::Effort;
use super::backup::epoch;
use super::fire::{serves_nothing, wait_words};
use super::members::{wait_equal, wait_rejoined, wait_voters};
use super::model::Model;
use crate::cluster::Cluster;
use crate::report::{Report, Row};
use crate::{files, pace};

/// Destroys two of three, recovers with the third, lets the two come back from old copies.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let rounds = effort.count(1, ROUNDS_ALL);
    let mut held = 0;
    for _ in 0..rounds {
        held += round().await?;
    }
    let figures = format!(
        "{rounds} × two of three nodes lost for good: `conclaved recover` shows and confirms, {held} \
         acknowledged values are there, both old nodes are refused and rejoin, epoch 2 everywhere"
    );
    Ok(Report::from(figures)
        .with_row("quorum lost for good", Row::refused(rounds))
        .with_row("an old majority comes back after a recovery", Row::refused(2 * rounds)))
}

async fn round() -> anyhow::Result<usize> {
    let mut cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
    let client = cluster.client().await?;
    let mut model = Model::new(VALUE_BYTES);
    model.write(&client, 0..KEYS).await?;
    let survivor = lose_two(&mut cluster, &client).await?;
    recover(&mut cluster, &client, survivor).await?;
    model.check(&cluster, &[survivor]).await?;
    let alone = cluster.client_of(&cluster.ready.nodes[survivor]).await?;
    model.write(&alone, 0..KEYS / 2).await?;
    old_majority_is_refused(&mut cluster, survivor).await?;
    model.check(&cluster, &[survivor]).await?;
    for place in (0..3).filter(|place| *place != survivor) {
        let old = cluster.ready.nodes[place].id;
        cluster.rejoin(place).await?;
        wait_rejoined(&mut cluster, &alone, place, old).await?;
    }
    wait_voters(&alone, &["node-1", "node-2", "node-3"]).await?;
    model.write(&alone, 0..KEYS / 4).await?;
    wait_equal(&alone, 3).await?;
    model.check(&cluster, &[0, 1, 2]).await?;
    for place in 0..3 {
        let epoch = epoch(&cluster, place).await?;
        ensure!(epoch == 2, "node {place} is in epoch {epoch}");
    }
    cluster.stop().await?;
    Ok(model.len())
}

fn aside(cluster: &Cluster, place: usize) -> std::path::PathBuf {
    cluster.directory.path().join(format!("lost-{place}"))
}

/// Stops all; keeps copies of two directories and destroys them; answers with the third, the one
/// with the highest index.
async fn lose_two(cluster: &mut Cluster, client: &Client) -> anyhow::Result<usize> {
    let mut highest = (0, 0);
    for (place, node) in cluster.ready.nodes.iter().enumerate() {
        let status = cluster.status(client, node).await.context("a node does not answer")?;
        highest = highest.max((status.applied_index, place));
    }
    let survivor = highest.1;
    for place in 0..3 {
        cluster.end(place).await?;
    }
    for place in (0..3).filter(|place| *place != survivor) {
        let data = cluster.ready.nodes[place].data();
        files::copy_folder(&data, &aside(cluster, place))?;
        std::fs::remove_dir_all(&data)?;
    }
    Ok(survivor)
}

/// Looks first, which changes nothing; then confirms; then starts the survivor.
async fn recover(cluster: &mut Cluster, client: &Client, survivor: usize) -> anyhow::Result<()> {
    let data = cluster.ready.nodes[survivor].data();
    let (right, shown) = cluster.command(survivor, "recover", &[]).await?;
    ensure!(right, "recover shows nothing: {shown}");
    for word in ["index", "term", "epoch", "--confirm"] {
        ensure!(shown.contains(word), "`conclaved recover` shows no {word}: {shown}");
    }
    let (right, done) = cluster.command(survivor, "recover", &["--confirm"]).await?;
    ensure!(right, "recover --confirm: {done}");
    ensure!(data.exists(), "the survivor's data is gone");
    cluster.restart(survivor)?;
    let node = cluster.ready.nodes[survivor].clone();
    pace::until(SERVES_MAX, "the survivor's service", async || {
        let status = cluster.status(client, &node).await;
        status.is_some_and(|s| !s.sealed && s.leader_id != 0 && s.leader_id == s.node_id)
    })
    .await
    .with_context(|| cluster.words(survivor))?;
    let members = cluster.client_of(&node).await?.operator().members().await?;
    ensure!(members.len() == 1, "{} members after a recovery", members.len());
    Ok(())
}

/// Both old nodes start from their copies: a majority of the old cluster. They must not serve, must
/// say why, and must not disturb the survivor.
async fn old_majority_is_refused(cluster: &mut Cluster, survivor: usize) -> anyhow::Result<()> {
    let others: Vec<usize> = (0..3).filter(|place| *place != survivor).collect();
    for place in &others {
        files::copy_folder(&aside(cluster, *place), &cluster.ready.nodes[*place].data())?;
        cluster.restart(*place)?;
    }
    for place in &others {
        wait_words(cluster, *place, &["conclaved rejoin"]).await?;
        serves_nothing(cluster, *place).await?;
    }
    for place in others {
        cluster.end(place).await?;
    }
    Ok(())
}

const ROUNDS_ALL: u64 = 5;
const KEYS: u64 = 200;
const VALUE_BYTES: usize = 1 << 10;
const SERVES_MAX: Duration = Duration::from_secs(60);

//! Every row of the table of known failures, at the leader, at a follower, and after a failover.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::Client;
use futures::{FutureExt, StreamExt};
use rustix::fs::Mode;
use rustix::process::umask;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::rows::{ALONE, API_LOGS, Cell, Door, HASHED_LOG, Matrix, Place, RAW_LOG, Row, Site};
use crate::rows::{TOGETHER, WAITING, all};
use crate::{pace, report};

/// Runs them; prints the table and leaves it in `rows.md`.
pub(crate) async fn run() -> anyhow::Result<String> {
    let mut matrix = Matrix::default();
    let ran = fill(&mut matrix).await;
    let table = matrix.table();
    print!("{table}");
    std::fs::write(report::folder()?.join("rows.md"), &table)?;
    ran?;
    let faults = matrix.faults();
    ensure!(faults.is_empty(), "{} cells are not right:\n{}", faults.len(), faults.join("\n"));
    let (rows, places) = (all().count(), Place::ALL.len());
    Ok(format!("{rows} rows at {places} places, {} notes of what waits", WAITING.len()))
}

async fn fill(matrix: &mut Matrix) -> anyhow::Result<()> {
    let (mut cluster, client, site) = start().await?;
    let leader = cluster.leader(&client).await?;
    let followers: Vec<usize> = (0..NODES).filter(|place| *place != leader).collect();
    let [near, far] = [followers[0], followers[1]];
    column(matrix, Place::Leader, &doors(&cluster, &[leader, near, far])?, &site).await?;
    column(matrix, Place::Follower, &doors(&cluster, &[near, leader, far])?, &site).await?;

    cluster.kill(leader).await?;
    let next = next_leader(&cluster, &client, &followers).await?;
    let last = if next == near { far } else { near };
    column(matrix, Place::NewLeader, &doors(&cluster, &[next, last])?, &site).await?;
    column(matrix, Place::NewFollower, &doors(&cluster, &[last, next])?, &site).await?;
    ensure!(cluster.leader(&client).await? == next, "the leader changed once more: void");
    cluster.restart(leader)?;
    cluster.wait_caught_up(&client, leader, 1).await?;
    cluster.stop().await
}

/// Nodes with audit devices and log level `trace`, whose files were made under no umask at all.
async fn start() -> anyhow::Result<(Cluster, Client, Arc<Site>)> {
    let before = umask(Mode::empty());
    let started = start_unmasked().await;
    umask(before);
    started
}

async fn start_unmasked() -> anyhow::Result<(Cluster, Client, Arc<Site>)> {
    let mut cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
    let client = cluster.client().await?;
    for place in 0..NODES {
        let folder = cluster.ready.nodes[place].config.clone();
        std::fs::create_dir(folder.with_file_name(API_LOGS))?;
        cluster.configure(place, configure)?;
        cluster.end(place).await?;
        let environment = format!("HTTPS_PROXY=http://proxy:{ENVIRONMENT_SECRET}@127.0.0.1:9");
        cluster.restart_through(place, &[Path::new("env"), Path::new(&environment)])?;
        cluster.wait_caught_up(&client, place, 1).await?;
    }
    let base = cluster.ready.nodes[0].config.parent().and_then(Path::parent).context("a folder")?;
    let secret = |file: &str| {
        std::fs::read_to_string(base.join(file)).map(|text| text.trim().to_owned()).context("a key")
    };
    let secrets = vec![secret("seal.key")?, secret("join.secret")?, ENVIRONMENT_SECRET.to_owned()];
    let site = Site {
        root_token: cluster.ready.root_token.clone(),
        shares: cluster.ready.unseal_keys.clone(),
        directory: cluster.directory.path().to_owned(),
        secrets,
    };
    Ok((cluster, client, Arc::new(site)))
}

fn configure(config: &mut Value) {
    config["log_level"] = json!("trace");
    config["audit_api_directory"] = json!(API_LOGS);
    config["audit"] = json!({"file": {
        "hashed": {"options": {"file_path": HASHED_LOG}},
        "raw": {"options": {"file_path": RAW_LOG, "danger_log_raw": true}},
    }});
}

/// Who leads after the leader was killed, once both that are left serve reads and writes.
async fn next_leader(cluster: &Cluster, client: &Client, left: &[usize]) -> anyhow::Result<usize> {
    for door in doors(cluster, left)? {
        let root = door.caller(&cluster.ready.root_token);
        pace::until(FAILOVER_MAX, "service after a failover", async || {
            let body = json!({"data": {"after": "failover"}});
            root.post("secret/data/failover", &body).await.is_ok_and(|reply| reply.status == 200)
        })
        .await?;
    }
    cluster.leader(client).await
}

fn doors(cluster: &Cluster, places: &[usize]) -> anyhow::Result<Vec<Door>> {
    places.iter().map(|place| Door::new(cluster, &cluster.ready.nodes[*place])).collect()
}

/// Every row at one place, the first of these nodes.
async fn column(
    matrix: &mut Matrix,
    place: Place,
    nodes: &[Door],
    site: &Arc<Site>,
) -> anyhow::Result<()> {
    let begun = pace::now();
    let run = |row: &Row| {
        let (row, cell) = (*row, cell(*row, place, nodes, site));
        async move { (row, run_row(row, cell).await) }
    };
    let mut outcomes = futures::stream::iter(TOGETHER.iter().map(run)).buffer_unordered(AT_ONCE);
    while let Some((row, outcome)) = outcomes.next().await {
        matrix.note(row, place, outcome);
    }
    drop(outcomes);
    for row in ALONE {
        let (row, outcome) = run(row).await;
        matrix.note(row, place, outcome);
    }
    println!("   {place:?}: {} s", begun.elapsed().as_secs());
    Ok(())
}

fn cell(row: Row, place: Place, nodes: &[Door], site: &Arc<Site>) -> Cell {
    let name = format!("row{:03}{}", row.number(), place.letter());
    Cell { name, node: nodes[0].clone(), nodes: nodes.to_vec(), site: site.clone() }
}

/// A row that panics or hangs fails like any other.
async fn run_row(row: Row, cell: Cell) -> Result<(), String> {
    let running = AssertUnwindSafe((row.run)(&cell)).catch_unwind();
    match pace::within(ROW_MAX, "the end of the row", running).await {
        Ok(Ok(outcome)) => outcome.map_err(|error| format!("{error:#}")),
        Ok(Err(_)) => Err("it panicked".to_owned()),
        Err(hung) => Err(format!("{hung:#}")),
    }
}

const NODES: usize = 3;
/// Rows at the same time: most of them wait for nodes.
const AT_ONCE: usize = 6;
const ROW_MAX: Duration = Duration::from_secs(40);
const FAILOVER_MAX: Duration = Duration::from_secs(20);
const ENVIRONMENT_SECRET: &str = "umgebungsgeheimnis7x3k";

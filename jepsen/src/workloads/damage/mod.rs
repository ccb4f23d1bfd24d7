//! Bytes, pages and files of one node go bad: never a wrong answer, never a silent divergence, and
//! always a way back.
//!
//! Damage may be found late: a node answers rightly, is taken for healed, and its scrub ends it while
//! another node is being damaged. So these tests start nodes again that ended by themselves, as a
//! service manager does.

mod fault;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::Client;
use futures::future::try_join_all;
use rustix::process::Signal;
use serde_json::json;

use super::Effort;
use super::members::{wait_equal_kept, wait_rejoined, wait_voters};
use super::model::Model;
use crate::cluster::Cluster;
use crate::report::{self, Report, Row};
use crate::seed::Seed;
use crate::{files, pace};
use fault::{Fault, Target};

type Rows = BTreeMap<(Target, Fault), Row>;

/// Damages one node after the other, every kind of fault on every kind of file, on two clusters at a
/// time. Leaves the table in `damage.md`.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let count = effort.count(DAMAGES_CI, DAMAGES_ALL);
    let share = count / CLUSTERS;
    let work = (0..CLUSTERS).map(|number| damage_cluster(effort.seed, number, share));
    let mut rows = Rows::new();
    for part in try_join_all(work).await? {
        for (what, row) in part {
            let sum = rows.entry(what).or_default();
            sum.runs += row.runs;
            sum.wrong += row.wrong;
            sum.healed += row.healed;
            sum.refused += row.refused;
        }
    }
    let named: Vec<(String, Row)> = rows
        .into_iter()
        .map(|((target, fault), row)| (format!("{} × {}", target.name(), fault.name()), row))
        .collect();
    let table = report::table("file × fault", named.iter().map(|(name, row)| (name, row)));
    println!("{table}");
    std::fs::write(report::folder()?.join("damage.md"), table)?;
    let report = summary(effort.seed, &named);
    let wrong: u64 = report.rows.iter().map(|(_, row)| row.wrong).sum();
    ensure!(wrong == 0, "{wrong} damages, told above, ended wrongly");
    Ok(report)
}

fn summary(seed: u64, rows: &[(String, Row)]) -> Report {
    let sum = rows.iter().fold(Row::default(), |sum, (_, row)| Row {
        runs: sum.runs + row.runs,
        wrong: sum.wrong + row.wrong,
        healed: sum.healed + row.healed,
        refused: sum.refused + row.refused,
        ..sum
    });
    let Row { runs, healed, refused, .. } = sum;
    let figures = format!(
        "{runs} damages (seed {seed}): 0 lost, 0 wrong, {healed} healed by themselves, {refused} \
         refused and repaired by what the message said"
    );
    Report::from(figures).with_row("damage to one node's files", sum)
}

/// One cluster with its share of the damages.
async fn damage_cluster(seed: u64, number: u64, count: u64) -> anyhow::Result<Rows> {
    let mut damaged = Damaged::start(Seed::new(seed, number)).await?;
    let combinations: Vec<(Target, Fault)> = Target::ALL
        .into_iter()
        .flat_map(|target| Fault::ALL.map(|fault| (target, fault)))
        .collect();
    let mut rows = Rows::new();
    for run in 0..count {
        // Both clusters together go through all combinations in turn.
        let turn = usize::try_from(run * CLUSTERS + number)? % combinations.len();
        let (target, fault) = combinations[turn];
        let done = damaged.damage(target, fault).await;
        let row = rows.entry((target, fault)).or_default();
        row.runs += 1;
        match done {
            Ok(true) => row.healed += 1,
            Ok(false) => row.refused += 1,
            Err(error) => {
                println!("   damage {run} of cluster {number}, seed {seed}: {error:#}");
                println!("{}", damaged.look().await);
                row.wrong += 1;
                damaged.wipe().await.context("after a damage that was not repaired")?;
            }
        }
    }
    wait_equal_kept(&mut damaged.cluster, &damaged.client, 3).await?;
    damaged.model.check(&damaged.cluster, &[0, 1, 2]).await?;
    damaged.cluster.stop().await?;
    Ok(rows)
}

/// A cluster whose nodes are damaged.
struct Damaged {
    cluster: Cluster,
    client: Client,
    model: Model,
    seed: Seed,
    /// Where the last damage was.
    place: usize,
    /// Which places have an older copy of their data.
    copied: [bool; 3],
}

/// What became of a node that was started on damaged files.
enum Verdict {
    Serves,
    Refuses(String),
}

impl Damaged {
    async fn start(seed: Seed) -> anyhow::Result<Self> {
        let mut cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
        let client = cluster.client().await?;
        cluster
            .reconfigure(&client, |config| {
                config["storage"]["raft"]["snapshot_entries"] = json!(SNAPSHOT_ENTRIES);
                config["storage"]["raft"]["trailing_logs"] = json!(TRAILING);
            })
            .await?;
        let mut model = Model::new(VALUE_BYTES);
        model.write(&client, 0..KEYS).await?;
        Ok(Self { cluster, client, model, seed, place: 0, copied: [false; 3] })
    }

    /// One damage and its repair; answers whether the node did it by itself.
    async fn damage(&mut self, target: Target, fault: Fault) -> anyhow::Result<bool> {
        let place = self.seed.below(3);
        self.place = place;
        if fault == Fault::OldCopy && !self.copied[place] {
            self.stop(place).await?;
            self.take_copy(place)?;
            self.cluster.restart(place)?;
            self.cluster.wait_caught_up(&self.client, place, 1).await?;
        }
        self.write(None).await?;
        wait_snapshot(&self.cluster, place).await?;
        let old = self.cluster.status(&self.client, &self.cluster.ready.nodes[place]).await;
        let old = old.map_or(0, |status| status.node_id);
        self.stop(place).await?;
        let (data, older) = (self.cluster.ready.nodes[place].data(), self.copy_of(place));
        let aside = self.cluster.directory.path().join("before");
        files::replace_folder(&aside, &data)?;
        let what = fault.befall(target, &data, &older, &mut self.seed)?;
        std::fs::rename(&aside, older.with_extension("next"))?;
        let healed = self.repair(place, old).await.with_context(|| {
            format!("node {place}: {what}; it said:\n     {}", tail(&self.cluster.words(place)))
        })?;
        // From here on the copy taken before this damage is the older one.
        if older.exists() {
            std::fs::remove_dir_all(&older)?;
        }
        std::fs::rename(older.with_extension("next"), &older)?;
        self.copied[place] = true;
        Ok(healed)
    }

    /// Starts the node and does what it says until it is a member with everything.
    async fn repair(&mut self, place: usize, old: u64) -> anyhow::Result<bool> {
        self.write(Some(place)).await?;
        let mut healed = true;
        for _ in 0..STARTS_MAX {
            self.cluster.restart(place)?;
            match self.verdict(place).await? {
                // On itself, before its peers could make anything good.
                Verdict::Serves if self.is_right(place).await? => {
                    wait_equal_kept(&mut self.cluster, &self.client, 3).await?;
                    return Ok(healed);
                }
                // It found damage while it served and ended; a service manager starts it again.
                Verdict::Serves => {}
                Verdict::Refuses(words) if words.contains("conclaved rejoin") => {
                    ensure!(names_a_file(&words), "the message names no file: {}", tail(&words));
                    self.set_aside(place, old).await?;
                    healed = false;
                }
                Verdict::Refuses(_) => {}
            }
        }
        anyhow::bail!("it does not come back, and does not say how")
    }

    /// Whether this node has everything; a wrong answer is an error, and so is none in the end. False
    /// where it ended instead of answering.
    async fn is_right(&mut self, place: usize) -> anyhow::Result<bool> {
        let client = self.cluster.client_of(&self.cluster.ready.nodes[place].clone()).await?;
        let begun = pace::now();
        loop {
            if self.cluster.exited(place).is_some() {
                return Ok(false);
            }
            self.cluster.start_ended(Some(place))?;
            match self.model.compare(&client).await {
                Ok((0, 0)) => return Ok(true),
                Ok((lost, wrong)) => anyhow::bail!("{lost} lost, {wrong} wrong"),
                Err(error) if begun.elapsed() > VERDICT_MAX => return Err(error),
                Err(_) => pace::pause(POLL).await,
            }
        }
    }

    async fn verdict(&mut self, place: usize) -> anyhow::Result<Verdict> {
        let node = self.cluster.ready.nodes[place].clone();
        let index = self.cluster.committed(&self.client).await;
        let begun = pace::now();
        while begun.elapsed() < VERDICT_MAX {
            if self.cluster.exited(place).is_some() {
                return Ok(Verdict::Refuses(self.cluster.words(place)));
            }
            self.cluster.start_ended(Some(place))?;
            match self.cluster.status(&self.client, &node).await {
                Some(s) if !s.sealed && s.leader_id != 0 && s.applied_index >= index => {
                    return Ok(Verdict::Serves);
                }
                _ => {}
            }
            let words = self.cluster.words(place);
            if words.contains("conclaved rejoin") {
                return Ok(Verdict::Refuses(words));
            }
            pace::pause(POLL).await;
        }
        anyhow::bail!("it neither serves nor says why")
    }

    /// The one command; the loop starts the node again, which must then be another.
    async fn set_aside(&mut self, place: usize, old: u64) -> anyhow::Result<()> {
        self.cluster.rejoin(place).await?;
        wait_rejoined(&mut self.cluster, &self.client, place, old).await?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3"]).await?;
        self.cluster.end(place).await
    }

    /// Gives up on a node whose damage was not repaired, so that the next ones can be looked at.
    async fn wipe(&mut self) -> anyhow::Result<()> {
        let place = self.place;
        self.cluster.end(place).await?;
        std::fs::remove_dir_all(self.cluster.ready.nodes[place].data())?;
        self.cluster.restart(place)?;
        wait_rejoined(&mut self.cluster, &self.client, place, 0).await?;
        let folder = self.cluster.directory.path();
        for leftover in [folder.join("before"), self.copy_of(place).with_extension("next")] {
            if leftover.exists() {
                std::fs::remove_dir_all(leftover)?;
            }
        }
        wait_voters(&self.client, &["node-1", "node-2", "node-3"]).await
    }

    /// How every node is, for whoever looks into a failure.
    async fn look(&mut self) -> String {
        let mut lines = Vec::new();
        for place in 0..3 {
            let node = self.cluster.ready.nodes[place].clone();
            let status = self.cluster.status(&self.client, &node).await;
            let exited = self.cluster.exited(place);
            let words = tail(&self.cluster.words(place));
            lines.push(format!("     node {place}: {status:?}, ended: {exited:?}\n     {words}"));
        }
        lines.push(format!("     members: {:?}", self.client.operator().members().await));
        lines.join("\n")
    }

    /// By SIGTERM or, as often, without warning.
    async fn stop(&mut self, place: usize) -> anyhow::Result<()> {
        if self.seed.below(2) == 0 || self.cluster.exited(place).is_some() {
            return self.cluster.end(place).await;
        }
        self.cluster.signal(place, Signal::TERM)?;
        self.cluster.wait_ended(place).await
    }

    /// Writes some keys; anew where the quorum was lost to a node that has to be started again.
    async fn write(&mut self, stopped: Option<usize>) -> anyhow::Result<()> {
        let first = self.seed.next() % (KEYS - WRITES_EACH);
        let mut tries = 0;
        loop {
            self.cluster.start_ended(stopped)?;
            tries += 1;
            match self.model.write(&self.client, first..first + WRITES_EACH).await {
                Err(_) if tries < WRITE_TRIES_MAX => pace::pause(WRITE_PAUSE).await,
                ended => return ended,
            }
        }
    }

    fn copy_of(&self, place: usize) -> std::path::PathBuf {
        self.cluster.directory.path().join(format!("older-{place}"))
    }

    fn take_copy(&mut self, place: usize) -> anyhow::Result<()> {
        let copy = self.copy_of(place);
        files::replace_folder(&copy, &self.cluster.ready.nodes[place].data())?;
        self.copied[place] = true;
        Ok(())
    }
}

/// A snapshot is built in the background; damage to one needs one.
async fn wait_snapshot(cluster: &Cluster, place: usize) -> anyhow::Result<()> {
    let folder = cluster.ready.nodes[place].data().join("snapshots");
    pace::until(VERDICT_MAX, "a snapshot", async || {
        files::below(&folder).is_ok_and(|found| {
            found.iter().any(|file| file.extension().is_some_and(|end| end == "snapshot"))
        })
    })
    .await
}

/// Damage is told with its file; a disk that went back in time has none to name.
fn names_a_file(words: &str) -> bool {
    ["log/", "node/", "tls/", "snapshots/", "state", "went back"]
        .iter()
        .any(|part| words.contains(part))
}

/// What matters of what a node said, its end.
fn tail(words: &str) -> String {
    let loud = |line: &&str| {
        ["panicked", "ERROR", "WARN", "conclaved:"].iter().any(|part| line.contains(part))
    };
    let mut lines = Vec::new();
    let mut said = words.lines().peekable();
    while let Some(line) = said.next() {
        if loud(&line) {
            lines.push(line);
        }
        // The message of a panic is on the line after its place.
        if line.contains("panicked") {
            lines.extend(said.peek());
        }
    }
    lines[lines.len().saturating_sub(WORDS_LINES)..].join("\n     ")
}

const DAMAGES_CI: u64 = 40;
const DAMAGES_ALL: u64 = 400;
const CLUSTERS: u64 = 2;
/// About 2.5 MiB of state.
const KEYS: u64 = 160;
const VALUE_BYTES: usize = 16 << 10;
const WRITES_EACH: u64 = 12;
const WRITE_TRIES_MAX: u32 = 3;
const WRITE_PAUSE: Duration = Duration::from_secs(1);
/// Small enough that snapshots and purges happen all the time.
const SNAPSHOT_ENTRIES: u64 = 48;
const TRAILING: u64 = 16;
const VERDICT_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
const STARTS_MAX: u32 = 4;
const WORDS_LINES: usize = 12;

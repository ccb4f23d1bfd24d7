//! Disks that are slow, that hang, whose syncs fail.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::Client;
use tokio::process::Command;

use super::Effort;
use super::members::{wait_equal, wait_unfit};
use super::writers::Writers;
use crate::cluster::Cluster;
use crate::pace;
use crate::report::{Report, Row};

/// Slows, hangs and fails the syncs of one node's log after the other, under load.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let rounds = effort.count(1, ROUNDS_ALL);
    let (mut slow, mut hung, mut acknowledged) = (Duration::ZERO, Duration::ZERO, 0);
    for _ in 0..rounds {
        let round = round().await?;
        slow = slow.max(round.slow);
        hung = hung.max(round.hung);
        acknowledged += round.acknowledged;
    }
    let figures = format!(
        "{rounds} × 200 ms a sync on a follower (no change of leader), on the leader (one hand-over, \
         after at most {} ms), a hung sync on the leader (another leads after at most {} ms), a \
         failed sync on a follower and on the leader (the process ends, a restart has everything); \
         {acknowledged} acknowledged, 0 lost, 0 wrong",
        slow.as_millis(),
        hung.as_millis()
    );
    Ok(Report::from(figures)
        .with_row("200 ms a sync on a follower", Row::healed(rounds))
        .with_row("200 ms a sync on the leader", Row::healed(rounds))
        .with_row("hung sync on the leader", Row::healed(rounds))
        .with_row("failed sync", Row::healed(2 * rounds)))
}

struct Round {
    slow: Duration,
    hung: Duration,
    acknowledged: usize,
}

async fn round() -> anyhow::Result<Round> {
    let mut slow = Slow::start().await?;
    let writers = Writers::on(&slow.cluster, WRITERS, PAUSE).await?;
    pace::pause(Duration::from_secs(1)).await;
    slow.follower().await?;
    let took = slow.leader().await?;
    let hung = slow.hung().await?;
    for of_leader in [false, true] {
        slow.failed(of_leader).await?;
    }
    let history = writers.stop().await?;
    let gap = history.longest_gap();
    ensure!(gap < GAP_MAX, "writes stopped for {gap:?}");
    history.check(&slow.cluster, &[0, 1, 2]).await?;
    wait_equal(&slow.client, 3).await?;
    slow.cluster.stop().await?;
    Ok(Round { slow: took, hung, acknowledged: history.acknowledged.len() })
}

/// A cluster whose nodes' syncs can be governed.
struct Slow {
    cluster: Cluster,
    client: Client,
    launcher: PathBuf,
}

impl Slow {
    async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
        let client = cluster.client().await?;
        let launcher = compile(&cluster).await?;
        let mut slow = Self { cluster, client, launcher };
        for place in 0..3 {
            slow.cluster.end(place).await?;
            slow.set(place, "ok")?;
            slow.restart(place).await?;
        }
        Ok(slow)
    }

    fn control(&self, place: usize) -> PathBuf {
        self.cluster.directory.path().join(format!("disk-{place}"))
    }

    /// At once, whole: the reader must never see half a word.
    fn set(&self, place: usize, what: &str) -> anyhow::Result<()> {
        let fresh = self.control(place).with_extension("new");
        std::fs::write(&fresh, what)?;
        std::fs::rename(fresh, self.control(place))?;
        Ok(())
    }

    async fn restart(&mut self, place: usize) -> anyhow::Result<()> {
        let control = self.control(place);
        self.cluster.restart_through(place, &[&self.launcher, &control])?;
        let index = self.cluster.committed(&self.client).await;
        self.cluster.wait_caught_up(&self.client, place, index).await
    }

    /// The leaders that were seen within this time, without repetition.
    async fn leaders(&self, during: Duration) -> anyhow::Result<Vec<usize>> {
        let mut seen = Vec::new();
        let begun = pace::now();
        while begun.elapsed() < during {
            let leader = self.cluster.leader(&self.client).await?;
            if seen.last() != Some(&leader) {
                seen.push(leader);
            }
            pace::pause(Duration::from_millis(50)).await;
        }
        Ok(seen)
    }

    async fn follower(&self) -> anyhow::Result<()> {
        let leader = self.cluster.leader(&self.client).await?;
        self.set((leader + 1) % 3, SLOW)?;
        let seen = self.leaders(WATCH).await?;
        ensure!(seen == [leader], "a slow follower moved the leadership: {seen:?}");
        self.set((leader + 1) % 3, "ok")?;
        wait_unfit(&self.client, &[]).await
    }

    /// Answers with how long it took until another one led.
    async fn leader(&self) -> anyhow::Result<Duration> {
        let leader = self.cluster.leader(&self.client).await?;
        self.set(leader, SLOW)?;
        let took = self.until_another_leads(leader, SLOW_HAND_OVER_MAX).await?;
        let after = self.cluster.leader(&self.client).await?;
        let seen = self.leaders(WATCH).await?;
        ensure!(seen == [after], "more than one hand-over: {seen:?} after {leader}");
        self.set(leader, "ok")?;
        // Where nobody else is trusted, a leader whose disk hangs has to stay.
        wait_unfit(&self.client, &[]).await?;
        Ok(took)
    }

    async fn hung(&self) -> anyhow::Result<Duration> {
        let leader = self.cluster.leader(&self.client).await?;
        self.set(leader, "hang")?;
        let took = self.until_another_leads(leader, HUNG_HAND_OVER_MAX).await?;
        pace::pause(Duration::from_secs(2)).await;
        self.set(leader, "ok")?;
        let index = self.cluster.committed(&self.client).await;
        self.cluster.wait_caught_up(&self.client, leader, index).await?;
        Ok(took)
    }

    async fn until_another_leads(&self, old: usize, limit: Duration) -> anyhow::Result<Duration> {
        let begun = pace::now();
        pace::until(limit, "another leader", async || {
            for (place, node) in self.cluster.ready.nodes.iter().enumerate() {
                let status = self.cluster.status(&self.client, node).await;
                let leads = status.is_some_and(|s| s.node_id != 0 && s.node_id == s.leader_id);
                if leads && place != old {
                    return true;
                }
            }
            false
        })
        .await?;
        Ok(begun.elapsed())
    }

    /// The process ends with words; a restart, whose disk is well, has everything.
    async fn failed(&mut self, of_leader: bool) -> anyhow::Result<()> {
        let leader = self.cluster.leader(&self.client).await?;
        let place = if of_leader { leader } else { (leader + 1) % 3 };
        self.set(place, "fail")?;
        pace::until(ENDED_MAX, "the end of a node whose sync failed", async || {
            self.cluster.exited(place).is_some()
        })
        .await?;
        let words = self.cluster.words(place);
        ensure!(words.contains("os error 5"), "the end does not say why: {words}");
        self.set(place, "ok")?;
        self.restart(place).await.with_context(|| self.cluster.words(place))
    }
}

/// Builds the launcher, as every machine with Rust can.
async fn compile(cluster: &Cluster) -> anyhow::Result<PathBuf> {
    let folder = cluster.directory.path();
    let (source, program) = (folder.join("slow_disk.c"), folder.join("slow_disk"));
    std::fs::write(&source, include_str!("../../shim/slow_disk.c"))?;
    let status = Command::new("cc")
        .args(["-O1", "-Wall", "-o"])
        .args([&program, &source])
        .stdin(Stdio::null())
        .status()
        .await
        .context("the C compiler, which also links Rust programs, cannot be run")?;
    ensure!(status.success(), "the launcher does not compile: {status}");
    Ok(program)
}

const ROUNDS_ALL: u64 = 10;
const WRITERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(5);
const SLOW: &str = "delay 200";
const WATCH: Duration = Duration::from_secs(6);
const SLOW_HAND_OVER_MAX: Duration = Duration::from_secs(15);
/// Twice the longest election timeout, and what a busy machine adds.
const HUNG_HAND_OVER_MAX: Duration = Duration::from_millis(2 * 800 + 1_400);
const ENDED_MAX: Duration = Duration::from_secs(20);
const GAP_MAX: Duration = Duration::from_secs(6);

//! A big state, from outside: does a node's memory grow with what it keeps?
//!
//! Three real nodes, each under a memory limit, are filled; then one builds a snapshot, sends it to
//! a node that lost everything, and the leader rebuilds its state machine from its own snapshot, all
//! but the last while a steady stream of writes goes on. For each step the growth of anonymous
//! memory is taken, and the longest time without an acknowledged write.
//!
//! A step grows a node by what it has at most during the step above what it has without it. For one
//! that runs, that is its median just before, under the same writes. For one that begins with the step
//! (to install, to rebuild) there is no before, so it is what the same node has at rest: started a
//! moment ago on the whole state, with nobody using it. What the writes take counts as growth then.

mod cluster;
mod limit;
mod report;
mod sampler;
mod snapshots;
mod values;
mod writers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::pace;
use cluster::{Cluster, SnapshotRule};
use report::{Bounds, Growth, Learner, Report};
use sampler::{NODES, Sampler};
use snapshots::Snapshots;
use writers::{SMALL_VALUE_BYTES, Steady};

/// `conclave-benches big-state`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// MiB of secrets.
    #[arg(long, default_value_t = 64)]
    mib: usize,
    /// Of these, this many percent in values of 300 B; the rest in values of `--value-kib`.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=100))]
    small_percent: u8,
    /// KiB of a large value.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    value_kib: u16,
    /// MiB that a node may take.
    #[arg(long, default_value_t = 512)]
    limit_mib: u64,
    /// Steady writes a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Seconds of steady writes before a snapshot is built.
    #[arg(long, default_value_t = 10)]
    baseline_seconds: u64,
    /// At the end a node is wiped once more, with the snapshots' default settings everywhere.
    #[arg(long)]
    default_snapshots: bool,
    /// Ends with an error where a limit is exceeded.
    #[arg(long)]
    check: bool,
    /// MiB that a step may add to a node's anonymous memory.
    #[arg(long, default_value_t = 128.0)]
    growth_mib: f64,
    /// Milliseconds that writes may pause longer than before while a snapshot is built or sent.
    #[arg(long, default_value_t = 100)]
    pause_ms: u64,
    /// Where the samples go.
    #[arg(long, value_name = "FILE", default_value = "target/bench/big-state.csv")]
    csv: PathBuf,
    /// Works in this directory and keeps it.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Runs it all and prints the figures.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let temporary = tempfile::Builder::new().prefix("conclave-benches-").tempdir()?;
    let directory = arguments.directory.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let sampler = Sampler::start()?;
    sampler.phase("start");
    let mut cluster = Cluster::make(directory, arguments.limit_mib << 20).await?;
    println!("  limit of {} MiB a node: {}", arguments.limit_mib, cluster.limit_kind());
    let outcome = Run { arguments: &arguments, sampler: &sampler }.steps(&mut cluster).await;
    sampler.write_csv(&arguments.csv)?;
    cluster.check_running()?;
    let report = outcome?;
    report.print();
    println!("limits met (page cache included) by node: {:?}", cluster.limit_hits());
    cluster.stop_all(&sampler).await?;
    let violations = report.violations(&Bounds {
        growth_mib: arguments.growth_mib,
        cap_mib: arguments.limit_mib as f64,
        pause_above_baseline: Duration::from_millis(arguments.pause_ms),
    });
    for violation in &violations {
        println!("out of bounds: {violation}");
    }
    anyhow::ensure!(violations.is_empty() || !arguments.check, "limits were exceeded");
    Ok(())
}

struct Run<'a> {
    arguments: &'a Arguments,
    sampler: &'a Sampler,
}

/// A stretch of steady writes.
struct Span {
    from: Instant,
    to: Instant,
}

impl Run<'_> {
    async fn steps(&self, cluster: &mut Cluster) -> anyhow::Result<Report> {
        self.fill(cluster).await?;
        let rest = self.rearrange(cluster).await?;
        let client = cluster.patient_client(STEADY_CONNECTIONS).await?;
        let steady = Steady::start(&client, self.arguments.rate);
        let mut growths = Growths { rest, found: Vec::new() };

        self.sampler.phase("steady");
        let from = pace::now();
        let built = self.build(cluster, &mut growths).await?;
        let baseline = steady.between(from + SETTLE, built.from);
        let caught_up = self.reinstall(cluster, &mut growths).await?;
        let building = steady.between(built.from, built.to);
        let installing = steady.between(caught_up.from, caught_up.to);
        let (errors, skipped) = steady.stop().await?;
        let rebuild = self.rebuild(cluster, &mut growths).await?;
        let learner = match self.arguments.default_snapshots {
            true => Some(self.catch_up(cluster, &mut growths).await?),
            false => None,
        };
        Ok(Report {
            growths: growths.found,
            baseline,
            building,
            build: built.to - built.from,
            installing,
            catch_up: caught_up.to - caught_up.from,
            rebuild,
            learner,
            errors,
            skipped,
        })
    }

    /// Small values first: they make the entries that automatic snapshots count, and those are
    /// cheap while the state is small.
    async fn fill(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        cluster.start_all(self.sampler).await?;
        let client = cluster.patient_client(FILL_CONNECTIONS).await?;
        self.sampler.phase("values");
        values::round_trips(cluster).await?;
        let bytes = self.arguments.mib << 20;
        let small = bytes * usize::from(self.arguments.small_percent) / 100;
        let value_bytes = usize::from(self.arguments.value_kib) << 10;
        self.sampler.phase("fill small");
        writers::fill(&client, "small", small / SMALL_VALUE_BYTES, SMALL_VALUE_BYTES).await?;
        self.sampler.phase("fill large");
        writers::fill(&client, "large", (bytes - small) / value_bytes, value_bytes).await?;
        self.sampler.phase("idle");
        pace::pause(IDLE).await;
        Ok(())
    }

    /// Starts the nodes anew so that only the leader will build a snapshot, and only after the
    /// baseline: three at once on one machine would measure the machine. Answers with what each has
    /// at rest.
    async fn rearrange(&self, cluster: &mut Cluster) -> anyhow::Result<[u64; NODES]> {
        let applied = cluster.status(LEADER).await.context("a node is gone")?.applied_index;
        self.sampler.phase("restart");
        cluster.stop_all(self.sampler).await?;
        let newest = Snapshots::of(cluster.data_dir(LEADER)).newest;
        let soon = applied - newest + self.arguments.rate * self.arguments.baseline_seconds;
        let rule = |entries| SnapshotRule { entries, keep: KEEP_ENTRIES };
        for node in 0..NODES {
            let entries = if node == LEADER { soon } else { NEVER };
            cluster.set_snapshot_rule(node, rule(entries))?;
        }
        cluster.start_all(self.sampler).await?;
        cluster.make_leader(LEADER).await?;
        let since = self.sampler.phase("at rest");
        pace::pause(REST).await;
        Ok(std::array::from_fn(|node| median(self.sampler.anonymous(node, since))))
    }

    /// Waits for the leader's snapshot.
    async fn build(&self, cluster: &mut Cluster, growths: &mut Growths) -> anyhow::Result<Span> {
        let data = cluster.data_dir(LEADER).to_path_buf();
        let before = Snapshots::of(&data).newest;
        let steady_since = self.sampler.elapsed();
        pace::until(STEP_MAX, "a snapshot that is begun", async || {
            cluster.check_running()?;
            Ok(Snapshots::of(&data).draft)
        })
        .await?;
        let level = median(self.sampler.anonymous(LEADER, steady_since));
        let (at, from) = (self.sampler.phase("build"), pace::now());
        pace::until(STEP_MAX, "a snapshot that is finished", async || {
            cluster.check_running()?;
            Ok(Snapshots::of(&data).newest > before)
        })
        .await?;
        let to = pace::now();
        // What is kept after the step counts too.
        pace::pause(AFTER).await;
        let samples = self.sampler.anonymous(LEADER, at);
        growths.take("build a snapshot", cluster.name(LEADER), level, &samples);
        Ok(Span { from, to })
    }

    /// A node loses everything and joins again: the leader sends its snapshot.
    async fn reinstall(
        &self,
        cluster: &mut Cluster,
        growths: &mut Growths,
    ) -> anyhow::Result<Span> {
        let steady_since = self.sampler.phase("remove");
        let name = cluster.name(WIPED).to_owned();
        // Of the leader only: the other does not yet know that it belongs to the cluster.
        let client = cluster.client([cluster.api_addr(LEADER).to_owned()], 1).await?;
        client.operator().remove_member(&name).await?;
        cluster.stop(WIPED, self.sampler).await?;
        std::fs::remove_dir_all(cluster.data_dir(WIPED))?;
        pace::pause(AFTER).await;
        let level = median(self.sampler.anonymous(LEADER, steady_since));

        let (at, from) = (self.sampler.phase("install"), pace::now());
        cluster.start(WIPED, self.sampler)?;
        pace::until(CATCH_UP_MAX, "a learner that catches up", async || {
            cluster.check_running()?;
            let Some(leader) = cluster.status(LEADER).await else { return Ok(false) };
            let Some(status) = cluster.status(WIPED).await else { return Ok(false) };
            let Ok(members) = client.operator().members().await else { return Ok(false) };
            let votes = members.iter().any(|m| m.name == name && m.voter);
            Ok(votes && !status.sealed && status.applied_index >= leader.applied_index)
        })
        .await?;
        let to = pace::now();
        self.sampler.phase("caught up");
        pace::pause(AFTER).await;
        let sender = self.sampler.anonymous(LEADER, at);
        growths.take("send a snapshot", cluster.name(LEADER), level, &sender);
        let receiver = self.sampler.anonymous(WIPED, at);
        growths.take("receive and install it", &name, growths.rest[WIPED], &receiver);
        Ok(Span { from, to })
    }

    /// A node loses its state machine only.
    async fn rebuild(
        &self,
        cluster: &mut Cluster,
        growths: &mut Growths,
    ) -> anyhow::Result<Duration> {
        let target = cluster.status(LEADER).await.context("the leader is gone")?.applied_index;
        cluster.stop(LEADER, self.sampler).await?;
        std::fs::remove_dir_all(cluster.data_dir(LEADER).join("state"))?;
        let (at, from) = (self.sampler.phase("rebuild"), pace::now());
        cluster.start(LEADER, self.sampler)?;
        pace::until(STEP_MAX, "a state that is rebuilt", async || {
            cluster.check_running()?;
            let status = cluster.status(LEADER).await;
            Ok(status.is_some_and(|s| !s.sealed && s.applied_index >= target))
        })
        .await?;
        let took = from.elapsed();
        self.sampler.phase("rebuilt");
        pace::pause(AFTER).await;
        let samples = self.sampler.anonymous(LEADER, at);
        growths.take("rebuild the state", cluster.name(LEADER), growths.rest[LEADER], &samples);
        Ok(took)
    }

    /// A node loses everything and joins again while writes go on at the full rate and snapshots
    /// come, and cut the log, when they do in a user's cluster.
    async fn catch_up(
        &self,
        cluster: &mut Cluster,
        growths: &mut Growths,
    ) -> anyhow::Result<Learner> {
        self.sampler.phase("defaults");
        cluster.stop_all(self.sampler).await?;
        for node in 0..NODES {
            cluster.unset_snapshot_rule(node)?;
        }
        cluster.start_all(self.sampler).await?;
        cluster.make_leader(LEADER).await?;
        let client = cluster.patient_client(STEADY_CONNECTIONS).await?;
        let steady = Steady::start(&client, self.arguments.rate);
        pace::pause(SETTLE).await;
        let span = self.reinstall(cluster, growths).await?;
        let service = steady.between(span.from, span.to);
        let (errors, skipped) = steady.stop().await?;
        Ok(Learner { catch_up: span.to - span.from, service, errors, skipped })
    }
}

/// What the steps took, and what every node has at rest, in KiB.
struct Growths {
    rest: [u64; NODES],
    found: Vec<Growth>,
}

impl Growths {
    fn take(&mut self, step: &'static str, node: &str, level_kib: u64, samples: &[u64]) {
        self.found.push(Growth::over(step, node, level_kib, samples));
    }
}

fn median(mut samples: Vec<u64>) -> u64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or(0)
}

/// Builds and sends the snapshot, and is rebuilt at the end.
const LEADER: usize = 0;
/// Loses its data.
const WIPED: usize = NODES - 1;
/// Entries behind a snapshot that the leader keeps, as by default.
const KEEP_ENTRIES: u64 = 10_000;
const NEVER: u64 = 100_000_000;
const FILL_CONNECTIONS: usize = 4;
const STEADY_CONNECTIONS: usize = 4;
/// The first of a baseline: connections open, caches fill.
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(3);
const REST: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(2);
const STEP_MAX: Duration = Duration::from_secs(300);
const CATCH_UP_MAX: Duration = Duration::from_secs(300);

//! Membership changes while clients write and nodes die.

use std::time::{Duration, Instant};

use anyhow::ensure;
use conclave_sdk::{Client, Error};
use serde_json::json;

use super::Effort;
use super::members::{Ids, wait_equal, wait_rejoined, wait_voters};
use super::writers::Writers;
use crate::cluster::Cluster;
use crate::http::Raw;
use crate::pace;
use crate::report::{Report, Row};
use crate::seed::Seed;

/// Grows, replaces, shrinks, joins three at once, lets removed and wiped nodes come back, demotes
/// and promotes; each under load, with a kill.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let rounds = effort.count(1, ROUNDS_ALL);
    let mut steps = 0;
    let (mut acknowledged, mut gap, mut gap_in, mut ids) = (0, Duration::ZERO, "", 0);
    for number in 0..rounds {
        let round = Fire::start(effort.seed, number).await?.round().await?;
        steps += round.steps;
        acknowledged += round.acknowledged;
        if round.gap > gap {
            (gap, gap_in) = (round.gap, round.gap_in);
        }
        ids += round.ids;
    }
    ensure!(gap <= GAP_MAX, "writes stopped for {gap:?}, during: {gap_in}");
    let figures = format!(
        "{steps} membership changes under load and kills, {acknowledged} acknowledged, 0 lost, 0 \
         wrong, writes stopped for at most {} ms (during: {gap_in}); {ids} ids, none twice",
        gap.as_millis()
    );
    Ok(Report::from(figures).with_row("membership change under load and kills", Row::healed(steps)))
}

struct Round {
    steps: u64,
    acknowledged: usize,
    gap: Duration,
    /// The step that it was in.
    gap_in: &'static str,
    ids: usize,
}

struct Fire {
    cluster: Cluster,
    client: Client,
    writers: Writers,
    ids: Ids,
    /// Each change with the time of its end.
    steps: Vec<(Instant, &'static str)>,
    seed: Seed,
    number: u64,
}

impl Fire {
    async fn start(seed: u64, number: u64) -> anyhow::Result<Self> {
        let seed = Seed::new(seed, number);
        let cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
        let client = cluster.client().await?;
        let writers = Writers::on(&cluster, WRITERS, PAUSE).await?;
        Ok(Self { cluster, client, writers, ids: Ids::default(), steps: Vec::new(), seed, number })
    }

    async fn round(mut self) -> anyhow::Result<Round> {
        self.ids.look(&self.client).await?;
        self.grow().await?;
        self.replace().await?;
        self.shrink().await?;
        self.join_three().await?;
        self.wipe().await?;
        self.demote_and_promote().await?;
        let Self { cluster, client, writers, ids, steps, .. } = self;
        let history = writers.stop().await?;
        wait_equal(&client, AT_LAST.len()).await?;
        history.check(&cluster, &AT_LAST).await?;
        let (acknowledged, gap) = (history.acknowledged.len(), history.longest_gap());
        let ended = history.longest_gap_end();
        let gap_in = steps.iter().find(|(end, _)| ended.is_some_and(|ended| ended <= *end));
        let gap_in = gap_in.map_or("the end", |(_, step)| step);
        cluster.stop().await?;
        Ok(Round { steps: steps.len() as u64, acknowledged, gap, gap_in, ids: ids.count() })
    }

    /// A change is done: writes must go on, and no id may have come back.
    async fn done(&mut self, step: &'static str) -> anyhow::Result<()> {
        self.steps.push((pace::now(), step));
        let kv = self.client.kv("secret");
        let put = kv.put("probe", json!({"step": step}), None);
        pace::within(WRITE_MAX, &format!("a write after: {step}"), put).await??;
        self.ids.look(&self.client).await?;
        Ok(())
    }

    /// 3 → 5, with a follower killed while the first of the two joins.
    async fn grow(&mut self) -> anyhow::Result<()> {
        let fourth = self.cluster.add("n4")?;
        self.cluster.restart(fourth)?;
        let follower = (self.cluster.leader(&self.client).await? + 1) % 3;
        self.cluster.end(follower).await?;
        self.cluster.restart(follower)?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3", "n4"]).await?;
        self.done("a fourth node").await?;
        let fifth = self.cluster.add("n5")?;
        self.cluster.restart(fifth)?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3", "n4", "n5"]).await?;
        self.done("a fifth node").await
    }

    /// node-1, which may lead, dies for good and n6 takes its place; then node-1 comes back, stays
    /// out, and returns by one command under a new id. n6 leaves again.
    async fn replace(&mut self) -> anyhow::Result<()> {
        self.cluster.end(0).await?;
        self.ids.retire("node-1");
        self.remove("node-1").await?;
        let sixth = self.cluster.add("n6")?;
        self.cluster.restart(sixth)?;
        wait_voters(&self.client, &["node-2", "node-3", "n4", "n5", "n6"]).await?;
        self.done("a replaced node").await?;

        self.cluster.restart(0)?;
        stays_out(&mut self.cluster, &self.client, 0).await?;
        self.done("a removed node that returned").await?;
        let old = self.cluster.ready.nodes[0].id;
        self.cluster.rejoin(0).await?;
        wait_rejoined(&mut self.cluster, &self.client, 0, old).await?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3", "n4", "n5", "n6"]).await?;
        self.done("a removed node that rejoined").await
    }

    /// 6 → 3, the leader among those that go; the others are killed once meanwhile.
    async fn shrink(&mut self) -> anyhow::Result<()> {
        for (place, name) in [(3, "n4"), (4, "n5"), (5, "n6")] {
            self.ids.retire(name);
            if place == 4 {
                let leader = self.cluster.leader(&self.client).await?;
                self.cluster.end(leader).await?;
                self.remove(name).await?;
                self.cluster.restart(leader)?;
            } else {
                self.remove(name).await?;
            }
            serves_nothing(&self.cluster, place).await?;
            self.cluster.end(place).await?;
            self.done("a removed node").await?;
        }
        wait_voters(&self.client, &["node-1", "node-2", "node-3"]).await
    }

    /// Three at once, with a kill of the leader: in one round right after it let the first of them
    /// in, in the next at any moment.
    async fn join_three(&mut self) -> anyhow::Result<()> {
        let leader = self.cluster.leader(&self.client).await?;
        let mut places = Vec::new();
        for name in ["n7", "n8", "n9"] {
            let place = self.cluster.add(name)?;
            self.cluster.restart(place)?;
            places.push(place);
        }
        if self.number.is_multiple_of(2) {
            pace::until(WORDS_MAX, "the first of three to join", async || {
                places.iter().any(|place| self.cluster.words(*place).contains(JOINED))
            })
            .await?;
        } else {
            let moment = self.seed.next() % JOINING_MS_MAX;
            pace::pause(Duration::from_millis(moment)).await;
        }
        self.cluster.end(leader).await?;
        self.cluster.restart(leader)?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3", "n7", "n8", "n9"]).await?;
        self.done("three joined at once").await
    }

    /// n9 loses its disk and joins again under its name.
    async fn wipe(&mut self) -> anyhow::Result<()> {
        let place = self.cluster.ready.nodes.len() - 1;
        let before = self.id_of("n9").await?;
        self.cluster.end(place).await?;
        self.ids.retire("n9");
        std::fs::remove_dir_all(self.cluster.ready.nodes[place].data())?;
        self.cluster.restart(place)?;
        wait_rejoined(&mut self.cluster, &self.client, place, before).await?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3", "n7", "n8", "n9"]).await?;
        self.done("a wiped node").await
    }

    /// A voter becomes a learner and a voter again, over HTTP; a follower dies in between.
    async fn demote_and_promote(&mut self) -> anyhow::Result<()> {
        self.change("demote", "n8").await?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3", "n7", "n9"]).await?;
        self.done("a demoted voter").await?;
        let follower = (self.cluster.leader(&self.client).await? + 1) % 3;
        self.cluster.end(follower).await?;
        self.cluster.restart(follower)?;
        self.change("promote", "n8").await?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3", "n7", "n8", "n9"]).await?;
        self.done("a promoted learner").await
    }

    async fn change(&self, verb: &str, name: &str) -> anyhow::Result<()> {
        let leader = &self.cluster.ready.nodes[self.cluster.leader(&self.client).await?];
        let ready = &self.cluster.ready;
        let raw = Raw::new(&ready.ca_file, &leader.api_addr, &ready.root_token)?;
        let body = json!({"server_id": name}).to_string();
        let path = format!("/v1/sys/storage/raft/{verb}");
        let answer = raw.send("POST", &path, body.as_bytes()).await?;
        ensure!(answer.status < 300, "{verb}: {} {}", answer.status, answer.body);
        Ok(())
    }

    /// Removes a member. An answer may die with a leader; then the members say what became of it.
    async fn remove(&self, name: &str) -> anyhow::Result<()> {
        for _ in 0..REMOVALS_MAX {
            match self.client.operator().remove_member(name).await {
                Ok(()) => return Ok(()),
                Err(Error::OutcomeUnknown { .. }) if self.id_of(name).await? == 0 => return Ok(()),
                Err(Error::OutcomeUnknown { .. }) => {}
                // It was under way when the members were asked.
                Err(_) if self.id_of(name).await? == 0 => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::bail!("whether {name} was removed stayed unknown {REMOVALS_MAX} times")
    }

    async fn id_of(&self, name: &str) -> anyhow::Result<u64> {
        let members = self.client.operator().members().await?;
        let found = members.into_iter().find(|member| member.name == name);
        Ok(found.map_or(0, |member| member.node_id))
    }
}

/// A node that was removed while it was away learns so, says so and serves nothing.
pub(crate) async fn stays_out(
    cluster: &mut Cluster,
    client: &Client,
    place: usize,
) -> anyhow::Result<()> {
    wait_words(cluster, place, &["conclaved rejoin"]).await?;
    serves_nothing(cluster, place).await?;
    let status = cluster.status(client, &cluster.ready.nodes[place]).await;
    ensure!(status.is_none_or(|s| s.leader_id == 0 || s.leader_id != s.node_id), "it leads");
    Ok(())
}

/// Waits until a node that was started by hand has said all of this.
pub(crate) async fn wait_words(
    cluster: &Cluster,
    place: usize,
    wanted: &[&str],
) -> anyhow::Result<()> {
    let waited = pace::until(WORDS_MAX, "a node's words", async || {
        let words = cluster.words(place);
        wanted.iter().all(|part| words.contains(part))
    })
    .await;
    waited.map_err(|_| anyhow::anyhow!("no {wanted:?} in {}", cluster.words(place)))
}

/// Reads and writes at this node end in an error, or nobody listens any more.
pub(crate) async fn serves_nothing(cluster: &Cluster, place: usize) -> anyhow::Result<()> {
    let node = &cluster.ready.nodes[place];
    let raw = Raw::new(&cluster.ready.ca_file, &node.api_addr, &cluster.ready.root_token)?;
    pace::until(WORDS_MAX, "the end of a node's service", async || {
        let read = raw.send("GET", "/v1/secret/data/probe", b"").await;
        !read.is_ok_and(|answer| answer.status != 503)
    })
    .await?;
    let write = raw.send("POST", "/v1/secret/data/stray", b"{\"data\":{\"i\":0}}").await;
    if let Ok(answer) = write {
        ensure!(answer.status == 503, "a node that is out takes a write: {}", answer.status);
    }
    Ok(())
}

const ROUNDS_ALL: u64 = 5;
const REMOVALS_MAX: u32 = 4;
/// What a node says once it has its answer.
const JOINED: &str = "this node has joined a cluster";
/// About how long it takes from a node's start to that.
const JOINING_MS_MAX: u64 = 1_000;
const WRITERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);
/// `node-1` to `node-3`, `n7`, `n8`, `n9`.
const AT_LAST: [usize; 6] = [0, 1, 2, 6, 7, 8];
const WRITE_MAX: Duration = Duration::from_secs(3);
const WORDS_MAX: Duration = Duration::from_secs(60);
/// Some steps kill the leader, and the next one may meet the new one.
const GAP_MAX: Duration = Duration::from_secs(6);

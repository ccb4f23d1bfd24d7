//! A node's whole directory goes back in time: nothing in it is damaged, and it must not take part.

use std::time::Duration;

use conclave_sdk::Client;

use super::Effort;
use super::fire::{serves_nothing, wait_words};
use super::members::{wait_equal, wait_rejoined, wait_voters};
use super::model::Model;
use crate::cluster::Cluster;
use crate::report::{Report, Row};
use crate::{files, pace};

/// Puts an old copy back, with the cluster well and with another node dead.
pub(crate) async fn run(effort: Effort) -> anyhow::Result<Report> {
    let rounds = effort.count(1, ROUNDS_ALL);
    for _ in 0..rounds {
        let mut rolled = Rolled::start().await?;
        rolled.old_copy().await?;
        rolled.copy_before_its_votes().await?;
        rolled.model.check(&rolled.cluster, &[0, 1, 2]).await?;
        rolled.cluster.stop().await?;
    }
    let runs = 2 * rounds;
    let figures = format!(
        "{runs} whole directories rolled back, one of two to before its votes with another node \
         dead: each stayed out, said why, and came back by `conclaved rejoin`; 0 lost"
    );
    Ok(Report::from(figures).with_row("whole directory of a node rolled back", Row::refused(runs)))
}

struct Rolled {
    cluster: Cluster,
    client: Client,
    model: Model,
}

impl Rolled {
    async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::start(&["--nodes", "3", "--seal", "static"]).await?;
        let client = cluster.client().await?;
        let mut model = Model::new(VALUE_BYTES);
        model.write(&client, 0..KEYS).await?;
        Ok(Self { cluster, client, model })
    }

    /// A follower's directory as it was some writes ago.
    async fn old_copy(&mut self) -> anyhow::Result<()> {
        let place = (self.cluster.leader(&self.client).await? + 1) % 3;
        self.copy(place).await?;
        self.model.write(&self.client, KEYS / 2..KEYS * 2).await?;
        pace::pause(SEEN).await;
        self.put_back(place).await?;
        let old = self.cluster.ready.nodes[place].id;
        self.cluster.restart(place)?;
        self.stays_out(place).await?;
        self.model.write(&self.client, 0..KEYS).await?;
        self.rejoin(place, old).await
    }

    /// A follower's directory as it was before it voted, while the one of the two others that could
    /// make a majority with it is dead: together with the last one it would be a quorum that forgot.
    async fn copy_before_its_votes(&mut self) -> anyhow::Result<()> {
        let place = (self.cluster.leader(&self.client).await? + 1) % 3;
        self.copy(place).await?;
        for _ in 0..ELECTIONS {
            self.client.operator().step_down().await?;
            self.cluster.leader(&self.client).await?;
            self.model.write(&self.client, 0..KEYS / 4).await?;
        }
        pace::pause(SEEN).await;
        let other = (0..3).find(|other| *other != place).unwrap_or_default();
        let old = self.old_id(place).await;
        self.cluster.end(other).await?;
        self.put_back(place).await?;
        self.cluster.restart(place)?;
        self.stays_out(place).await?;
        self.cluster.restart(other)?;
        self.cluster.wait_caught_up(&self.client, other, 1).await?;
        self.model.write(&self.client, 0..KEYS / 4).await?;
        self.rejoin(place, old).await
    }

    async fn old_id(&self, place: usize) -> u64 {
        let status = self.cluster.status(&self.client, &self.cluster.ready.nodes[place]).await;
        status.map_or(0, |status| status.node_id)
    }

    fn aside(&self, place: usize) -> std::path::PathBuf {
        self.cluster.directory.path().join(format!("copy-{place}"))
    }

    /// Copies the directory of a node that is stopped for it.
    async fn copy(&mut self, place: usize) -> anyhow::Result<()> {
        self.cluster.end(place).await?;
        files::replace_folder(&self.aside(place), &self.cluster.ready.nodes[place].data())?;
        self.cluster.restart(place)?;
        let index = self.cluster.committed(&self.client).await;
        self.cluster.wait_caught_up(&self.client, place, index).await
    }

    async fn put_back(&mut self, place: usize) -> anyhow::Result<()> {
        self.cluster.end(place).await?;
        files::replace_folder(&self.cluster.ready.nodes[place].data(), &self.aside(place))?;
        Ok(())
    }

    async fn stays_out(&mut self, place: usize) -> anyhow::Result<()> {
        wait_words(&self.cluster, place, &["went back in time", "conclaved rejoin"]).await?;
        serves_nothing(&self.cluster, place).await?;
        // Also after another start, which finds its own mark.
        self.cluster.end(place).await?;
        self.cluster.restart(place)?;
        wait_words(&self.cluster, place, &["conclaved rejoin"]).await?;
        serves_nothing(&self.cluster, place).await
    }

    async fn rejoin(&mut self, place: usize, old: u64) -> anyhow::Result<()> {
        self.cluster.rejoin(place).await?;
        wait_rejoined(&mut self.cluster, &self.client, place, old).await?;
        wait_voters(&self.client, &["node-1", "node-2", "node-3"]).await?;
        self.model.check(&self.cluster, &[place]).await?;
        wait_equal(&self.client, 3).await
    }
}

const ROUNDS_ALL: u64 = 10;
const KEYS: u64 = 64;
const VALUE_BYTES: usize = 1 << 10;
const ELECTIONS: u32 = 3;
/// Peers look at each other every 2 s and save at most once a second what they saw.
const SEEN: Duration = Duration::from_secs(5);

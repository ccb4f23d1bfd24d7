//! What the workloads know of a membership: who votes, which ids there ever were, whether all
//! replicas are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use conclave_sdk::{Client, MemberStatus};

use crate::cluster::Cluster;
use crate::pace;

/// Every id ever seen, and those whose node is gone for good.
#[derive(Default)]
pub(crate) struct Ids {
    seen: BTreeMap<u64, String>,
    gone: BTreeSet<u64>,
}

impl Ids {
    /// Looks at the members; answers with the ids that are new.
    pub(crate) async fn look(&mut self, client: &Client) -> anyhow::Result<Vec<u64>> {
        let mut fresh = Vec::new();
        for member in client.operator().members().await? {
            ensure!(!self.gone.contains(&member.node_id), "id {} is back", member.node_id);
            match self.seen.insert(member.node_id, member.name.clone()) {
                None => fresh.push(member.node_id),
                Some(name) => ensure!(
                    name == member.name,
                    "id {} was {name} and is {}",
                    member.node_id,
                    member.name
                ),
            }
        }
        Ok(fresh)
    }

    /// The member of this name is gone for good, and its id with it.
    pub(crate) fn retire(&mut self, name: &str) {
        self.gone.extend(self.seen.iter().filter(|(_, n)| *n == name).map(|(id, _)| *id));
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.seen.len()
    }
}

/// Waits until exactly these names vote.
pub(crate) async fn wait_voters(client: &Client, names: &[&str]) -> anyhow::Result<()> {
    let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut last = Vec::new();
    let waited = pace::until(VOTERS_MAX, "the wanted voters", async || {
        if let Ok(members) = client.operator().members().await {
            last = members;
        }
        let voters = last.iter().filter(|m| m.voter).map(|m| m.name.clone());
        voters.collect::<BTreeSet<_>>() == wanted
    })
    .await;
    waited.with_context(|| format!("{wanted:?} should vote, and the members are {last:?}"))
}

/// Waits until every member was reached and all of them are at one index with one state hash.
pub(crate) async fn wait_equal(client: &Client, count: usize) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let waited = pace::until(EQUAL_MAX, "equal replicas", async || {
        if let Ok(members) = client.operator().members().await {
            last = members;
        }
        last.len() == count && are_equal(&last)
    })
    .await;
    waited.with_context(|| format!("the replicas are not equal: {last:?}"))
}

/// The same, while nodes that end by themselves are started again.
pub(crate) async fn wait_equal_kept(
    cluster: &mut Cluster,
    client: &Client,
    count: usize,
) -> anyhow::Result<()> {
    let begun = pace::now();
    loop {
        cluster.start_ended(None)?;
        match pace::within(LOOK_MAX, "equal replicas", wait_equal(client, count)).await {
            Ok(equal) => return equal,
            Err(error) if begun.elapsed() > EQUAL_MAX => {
                let members = client.operator().members().await;
                return Err(error.context(format!("the replicas are not equal: {members:?}")));
            }
            Err(_) => {}
        }
    }
}

fn are_equal(members: &[MemberStatus]) -> bool {
    let first = &members[0];
    let hashed = !first.state_hash.is_empty();
    members.iter().all(|member| {
        member.reachable
            && hashed
            && member.applied_index == first.applied_index
            && member.state_hash == first.state_hash
    })
}

/// Waits until the node serves as a member with another id than `old`, and is up to date.
pub(crate) async fn wait_rejoined(
    cluster: &mut Cluster,
    client: &Client,
    place: usize,
    old: u64,
) -> anyhow::Result<()> {
    let node = cluster.ready.nodes[place].clone();
    let index = cluster.committed(client).await;
    let mut id = 0;
    let waited = pace::until(VOTERS_MAX, "a node's return", async || {
        if cluster.start_ended(Some(place)).is_err() {
            return false;
        }
        let Some(status) = cluster.status(client, &node).await else { return false };
        id = status.node_id;
        status.initialized
            && !status.sealed
            && id != 0
            && id != old
            && status.leader_id != 0
            && status.applied_index >= index
    })
    .await;
    waited.with_context(|| cluster.words(place))?;
    cluster.ready.nodes[place].id = id;
    Ok(())
}

/// Waits until the members say that exactly the nodes at these places are unfit.
pub(crate) async fn wait_unfit(client: &Client, places: &[usize]) -> anyhow::Result<()> {
    let names: Vec<String> = places.iter().map(|place| format!("node-{}", place + 1)).collect();
    pace::until(FIT_MAX, &format!("{names:?} unfit and no other"), async || {
        let Ok(members) = client.operator().members().await else { return false };
        members
            .iter()
            .all(|member| member.reachable && member.unfit == names.contains(&member.name))
    })
    .await
}

const VOTERS_MAX: Duration = Duration::from_secs(60);
const EQUAL_MAX: Duration = Duration::from_secs(60);
/// Between two looks at the processes.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// A disk that was slow is trusted again after 16 s.
const FIT_MAX: Duration = Duration::from_secs(45);

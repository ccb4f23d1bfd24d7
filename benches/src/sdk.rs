//! Durable writes and linearizable reads through the client library, with the root token.

use std::time::Duration;

use conclave_sdk::{Client, Kv};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::load::{self, Figures, Pace, Work};

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Durable writes of new versions, sent to the leader.
    Put,
    /// Linearizable reads from the leader.
    GetLeader,
    /// Linearizable reads from one follower.
    GetFollower,
}

impl Operation {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::Put, Self::GetLeader, Self::GetFollower];

    fn name(self) -> &'static str {
        match self {
            Self::Put => "durable put",
            Self::GetLeader => "linearizable get, leader",
            Self::GetFollower => "linearizable get, follower",
        }
    }
}

/// Runs `clients` clients for `span`.
pub(crate) async fn run(
    cluster: &Cluster,
    operation: Operation,
    clients: usize,
    span: Duration,
    value_bytes: usize,
) -> anyhow::Result<Figures> {
    let at = cluster.address_of(operation != Operation::GetFollower).await?;
    let client = cluster.client(&at, clients.div_ceil(CLIENTS_PER_CONNECTION)).await?;
    let value = json!({"v": "x".repeat(value_bytes)});
    fill(&client.kv("secret"), &value).await?;
    let one = |_| One { client: client.clone(), operation, value: value.clone() };
    let works = (0..clients).map(one).collect();
    load::run(operation.name(), works, Pace::Closed, span, &cluster.pids()).await
}

struct One {
    client: Client,
    operation: Operation,
    value: Value,
}

impl Work for One {
    async fn once(&mut self, turn: usize) -> anyhow::Result<()> {
        let kv = self.client.kv("secret");
        let path = format!("bench/{}", turn % KEYS);
        match self.operation {
            Operation::Put => drop(kv.put(&path, &self.value, None).await?),
            Operation::GetLeader | Operation::GetFollower => drop(kv.get(&path, None).await?),
        }
        Ok(())
    }
}

/// Makes every key exist.
async fn fill(kv: &Kv, value: &Value) -> anyhow::Result<()> {
    if kv.get(&format!("bench/{}", KEYS - 1), None).await?.is_some() {
        return Ok(());
    }
    for key in 0..KEYS {
        kv.put(&format!("bench/{key}"), value, None).await?;
    }
    Ok(())
}

const KEYS: usize = 1_000;
/// Many connections beat one HTTP/2 connection.
const CLIENTS_PER_CONNECTION: usize = 8;

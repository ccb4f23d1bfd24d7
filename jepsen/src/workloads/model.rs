//! What a cluster must hold: values written by one writer, each known by its number.

use std::collections::BTreeMap;

use anyhow::ensure;
use conclave_sdk::Client;
use futures::stream::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Every acknowledged value.
#[derive(Default, Clone)]
pub(crate) struct Model {
    values: BTreeMap<String, u64>,
    next: u64,
    /// How long a value is.
    bytes: usize,
}

impl Model {
    /// Values of about this length.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Writes under these keys, several at a time, and notes what was acknowledged.
    pub(crate) async fn write(
        &mut self,
        client: &Client,
        keys: std::ops::Range<u64>,
    ) -> anyhow::Result<()> {
        let first = self.next;
        self.next += keys.end - keys.start;
        let kv = client.kv("secret");
        let written: Vec<(String, u64)> = futures::stream::iter(keys.zip(first..))
            .map(|(key, value)| {
                let (kv, data) = (kv.clone(), self.data(value));
                async move {
                    let path = format!("model/key-{key}");
                    kv.put(&path, data, None).await?;
                    anyhow::Ok((path, value))
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        self.values.extend(written);
        Ok(())
    }

    fn data(&self, value: u64) -> Value {
        // Every value differs in every part, so that no piece of one passes for another's.
        let word = format!("{:016x}", value.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        json!({"value": value, "fill": word.repeat(self.bytes / word.len())})
    }

    /// The same values; numbers go on where another model's ended, so that none is given twice.
    pub(crate) fn numbered_after(mut self, other: &Self) -> Self {
        self.next = self.next.max(other.next);
        self
    }

    /// How many of the keys that only the other model has are there all the same.
    pub(crate) async fn strays(&self, other: &Self, client: &Client) -> anyhow::Result<u64> {
        let kv = client.kv("secret");
        let mut strays = 0;
        for path in other.values.keys().filter(|path| !self.values.contains_key(*path)) {
            strays += u64::from(kv.get(path, None).await?.is_some());
        }
        Ok(strays)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Reads everything through one client; answers with how many are lost and how many wrong.
    pub(crate) async fn compare(&self, client: &Client) -> anyhow::Result<(u64, u64)> {
        let kv = client.kv("secret");
        let listed = kv.list("model").await?;
        let unlisted = self.values.keys().filter(|path| {
            let name = path.trim_start_matches("model/");
            !listed.iter().any(|found| found == name)
        });
        let unlisted = unlisted.count() as u64;
        futures::stream::iter(&self.values)
            .map(|(path, value)| {
                let kv = kv.clone();
                async move {
                    let Some(found) = kv.get(path, None).await? else { return Ok((1, 0)) };
                    anyhow::Ok((0, u64::from(found.value()? != self.data(*value))))
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_fold((unlisted, 0), |sum, one| async move { Ok((sum.0 + one.0, sum.1 + one.1)) })
            .await
    }

    /// Each of these nodes, asked alone, has everything.
    pub(crate) async fn check(&self, cluster: &Cluster, places: &[usize]) -> anyhow::Result<()> {
        ensure!(!self.values.is_empty(), "nothing was written: the run is void");
        for place in places {
            let node = &cluster.ready.nodes[*place];
            let client = cluster.client_of(node).await?;
            let (lost, wrong) = self.compare(&client).await?;
            ensure!(lost == 0 && wrong == 0, "{}: {lost} lost, {wrong} wrong", node.api_addr);
        }
        Ok(())
    }
}

const AT_ONCE: usize = 16;

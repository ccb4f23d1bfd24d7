//! `sys/version-history`: which versions have led this cluster, and since when. A cluster begins with
//! the one that makes it; a leader of another version notes its own.

use std::collections::BTreeMap;

use conclave_barrier::Transaction;
use conclave_mount::format_time;
use prost::Message;
use serde::Serialize;
use serde_json::json;

use super::API_VERSION;
use crate::routes::Ask;
use crate::update::update;
use crate::{Core, Error, Response, errors, rows};

/// Versions that are kept; then the oldest goes.
const VERSIONS_MAX: usize = 256;

/// All of them. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct VersionTable {
    /// In the order in which they first led.
    #[prost(message, repeated, tag = "1")]
    versions: Vec<VersionRecord>,
}

/// One version. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct VersionRecord {
    #[prost(string, tag = "1")]
    version: String,
    /// When it first led.
    #[prost(uint64, tag = "2")]
    since_ms: u64,
}

#[derive(Serialize)]
struct View {
    build_date: &'static str,
    previous_version: Option<String>,
    timestamp_installed: String,
}

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let VersionTable { versions } = load(ask.tx)?;
    let mut before = None;
    let mut infos = BTreeMap::new();
    for record in &versions {
        let view = View {
            build_date: "",
            previous_version: before.replace(record.version.clone()),
            timestamp_installed: format_time(record.since_ms),
        };
        infos.insert(record.version.as_str(), view);
    }
    let keys: Vec<_> = versions.iter().map(|record| &record.version).collect();
    if keys.is_empty() {
        return Err(Error::not_found());
    }
    Response::json(&json!({"keys": keys, "key_info": infos}))
}

/// Notes the version that makes a cluster.
pub(crate) fn begin(tx: &mut Transaction, now_ms: u64) -> Result<(), Error> {
    let mut table = VersionTable::default();
    table.add(API_VERSION, now_ms);
    store(tx, &table)
}

/// Notes the version of this program, unless it stands there already. Runs on the leader.
pub(crate) async fn note(core: &Core) -> Result<(), Error> {
    let mut tx = core.barrier.transaction(core.barrier.ledger().view());
    if load(&mut tx)?.has(API_VERSION) {
        return Ok(());
    }
    drop(tx);
    update(&core.barrier, |tx, now_ms| {
        let mut table = load(tx)?;
        if table.has(API_VERSION) {
            return Ok(());
        }
        table.add(API_VERSION, now_ms);
        store(tx, &table)
    })
    .await
}

impl VersionTable {
    fn has(&self, version: &str) -> bool {
        self.versions.iter().any(|record| record.version == version)
    }

    fn add(&mut self, version: &str, since_ms: u64) {
        if self.versions.len() >= VERSIONS_MAX {
            self.versions.remove(0);
        }
        self.versions.push(VersionRecord { version: version.into(), since_ms });
    }
}

fn store(tx: &mut Transaction, table: &VersionTable) -> Result<(), Error> {
    tx.put(&rows::versions(), table.encode_to_vec().into()).map_err(errors::from_barrier)
}

fn load(tx: &mut Transaction) -> Result<VersionTable, Error> {
    let row = tx.get(&rows::versions()).map_err(errors::from_barrier)?;
    let Some(row) = row else { return Ok(VersionTable::default()) };
    VersionTable::decode(row.value)
        .map_err(|error| Error::internal(format!("the versions cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use crate::testing::{Bench, finish};

    /// The layout on disk.
    #[test]
    fn golden_layout() {
        let mut table = VersionTable::default();
        table.add("v", 1);
        assert_eq!(hex::encode(table.encode_to_vec()), "0a050a01761001");
    }

    #[test]
    fn the_oldest_goes_where_there_are_too_many() {
        let mut table = VersionTable::default();
        (0..=VERSIONS_MAX).for_each(|number| table.add(&number.to_string(), 1));
        assert!(table.versions.len() == VERSIONS_MAX && !table.has("0") && table.has("256"));
    }

    #[test]
    fn a_cluster_begins_with_the_version_that_makes_it() {
        let bench = Bench::new();
        let settled = bench.ledger.revision();
        finish(bench.core.maintain()).unwrap();
        assert_eq!(bench.ledger.revision(), settled, "it stands there already");
        let history = bench.call(Operation::List, "sys/version-history", &json!({})).unwrap();
        assert_eq!(history["keys"], json!([API_VERSION]));
        let info = &history["key_info"][API_VERSION];
        assert_eq!(info["previous_version"], json!(null));
        assert!(info["timestamp_installed"].as_str().unwrap().starts_with("2018-03-22T"));
    }

    #[test]
    fn the_leader_notes_its_version_once_and_names_the_one_before() {
        let bench = Bench::new();
        let mut tx = bench.core.barrier.transaction(bench.core.barrier.ledger().view());
        let mut table = VersionTable::default();
        table.add("1.0.0", 5);
        store(&mut tx, &table).unwrap();
        finish(tx.commit(None)).unwrap();
        finish(bench.core.maintain()).unwrap();
        let settled = bench.ledger.revision();
        finish(bench.rival().maintain()).unwrap();
        assert_eq!(bench.ledger.revision(), settled, "once");
        let history = bench.call(Operation::List, "sys/version-history", &json!({})).unwrap();
        assert_eq!(history["keys"], json!(["1.0.0", API_VERSION]));
        assert_eq!(history["key_info"][API_VERSION]["previous_version"], "1.0.0");
    }
}

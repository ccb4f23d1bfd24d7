//! The longest values, through both doors.

use anyhow::Context;
use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::http::Http;

/// Writes and reads values up to the limit, and checks that what is above is refused as too large
/// by either door, with nothing proposed.
pub(crate) async fn round_trips(cluster: &Cluster) -> anyhow::Result<()> {
    let node = cluster.leader().await.context("no leader")?;
    let http = Http::new(cluster.ca_file(), cluster.api_addr(node), cluster.token())?;
    let kv = cluster.client([cluster.api_addr(node).to_owned()], 1).await?.kv("secret");
    for bytes in [MIB / 2, MIB - MARGIN] {
        let data = json!({"v": "z".repeat(bytes)});
        kv.put("long/grpc", &data, None).await.with_context(|| format!("gRPC, {bytes} B"))?;
        let (status, _) = http.put("secret/data/long/http", &json!({"data": data})).await?;
        anyhow::ensure!(status == 200, "{bytes} B by HTTP: {status}");
        for path in ["long/grpc", "long/http"] {
            let read = kv.get(path, None).await?.context("it is gone")?;
            anyhow::ensure!(read.value()? == data, "{path} reads back differently");
            let (status, body) = http.get(&format!("secret/data/{path}")).await?;
            anyhow::ensure!(status == 200, "{path} by HTTP: {status}");
            let body: Value = serde_json::from_slice(&body)?;
            anyhow::ensure!(body["data"]["data"] == data, "{path} reads back differently by HTTP");
        }
    }
    let before = cluster.status(node).await.context("the leader is gone")?.committed_index;
    let data = json!({"v": "z".repeat(MIB + 1)});
    let (status, _) = http.put("secret/data/long/http", &json!({"data": data})).await?;
    anyhow::ensure!(status == 413, "a value above 1 MiB by HTTP: {status} instead of 413");
    let refused = kv.put("long/grpc", &data, None).await.err().context("it was taken by gRPC")?;
    let after = cluster.status(node).await.context("the leader is gone")?.committed_index;
    anyhow::ensure!(before == after, "something was proposed: {before} became {after}");
    println!(
        "  values up to {} B go round by both doors; above 1 MiB: 413, {refused}",
        MIB - MARGIN
    );
    Ok(())
}

const MIB: usize = 1 << 20;
/// What a version's own fields, JSON and the seal take.
const MARGIN: usize = 1_024;

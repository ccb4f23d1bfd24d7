//! KV version 2 as applications use it: over HTTP with TLS on connections that are kept, with a
//! service token whose policy has 20 rules, and with an audit log of every node in a file.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::{Connection, Http};
use crate::load::{self, Figures, Pace, TABLE_HEAD, Work};

/// `conclave-benches kv`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds a point.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Numbers of clients, each with a connection of its own and one request under way.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128])]
    clients: Vec<usize>,
    /// Secrets that are there.
    #[arg(long, default_value_t = 20_000)]
    secrets: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 300)]
    value_bytes: usize,
    /// Requests a second of the point at a fixed rate.
    #[arg(long, default_value_t = 1_250)]
    rate: u32,
    /// Also writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

/// Measures with audit, then reads without.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    println!("{TABLE_HEAD}");
    let mut all = Vec::new();
    let audited = Cluster::start_audited().await?;
    let bench = Bench::new(&audited, &arguments).await?;
    for &clients in &arguments.clients {
        all.push(bench.point("read, leader", Kind::Read, clients, 1).await?);
    }
    for &clients in &arguments.clients {
        all.push(bench.point("read, all nodes", Kind::Read, clients, 3).await?);
    }
    all.push(bench.at_rate(arguments.rate).await?);
    for &clients in &arguments.clients {
        all.push(bench.point("write, leader", Kind::Write, clients, 1).await?);
    }
    audited.stop().await?;

    let silent = Cluster::start().await?;
    let bench = Bench::new(&silent, &arguments).await?;
    for &clients in &arguments.clients {
        all.push(bench.point("read, leader, no audit log", Kind::Read, clients, 1).await?);
    }
    silent.stop().await?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&all)?)?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

/// A cluster with secrets and a token for them.
struct Bench<'a> {
    cluster: &'a Cluster,
    /// The leader first.
    nodes: Vec<Http>,
    secrets: usize,
    body: Bytes,
    span: Duration,
}

impl<'a> Bench<'a> {
    async fn new(cluster: &'a Cluster, arguments: &Arguments) -> anyhow::Result<Self> {
        let addresses = cluster.addresses().await?;
        let token = make_token(&cluster.http(&addresses[0], None)?).await?;
        let nodes = addresses
            .iter()
            .map(|address| cluster.http(address, Some(&token)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let body = json!({"data": {"v": "x".repeat(arguments.value_bytes)}}).to_string().into();
        let span = Duration::from_secs(arguments.seconds);
        let bench = Self { cluster, nodes, secrets: arguments.secrets, body, span };
        bench.fill().await?;
        Ok(bench)
    }

    /// Writes every secret once.
    async fn fill(&self) -> anyhow::Result<()> {
        let works = self.works(Kind::Write, FILLERS, 1).await?;
        let tasks: Vec<_> = works
            .into_iter()
            .enumerate()
            .map(|(filler, mut work)| {
                let secrets = self.secrets;
                crate::pace::task(async move {
                    for secret in (filler..secrets).step_by(FILLERS) {
                        work.once(secret).await?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(())
    }

    async fn works(&self, kind: Kind, clients: usize, nodes: usize) -> anyhow::Result<Vec<One>> {
        let mut works = Vec::new();
        for client in 0..clients {
            let connection = self.nodes[client % nodes].connect().await?;
            let body = self.body.clone();
            works.push(One { connection, kind, secrets: self.secrets, body });
        }
        Ok(works)
    }

    async fn point(
        &self,
        name: &str,
        kind: Kind,
        clients: usize,
        nodes: usize,
    ) -> anyhow::Result<Figures> {
        self.measure(name, kind, Pace::Closed, clients, nodes).await
    }

    async fn at_rate(&self, rate: u32) -> anyhow::Result<Figures> {
        let name = format!("read, leader, {rate}/s");
        self.measure(&name, Kind::Read, Pace::Fixed(rate), RATE_CLIENTS, 1).await
    }

    async fn measure(
        &self,
        name: &str,
        kind: Kind,
        pace: Pace,
        clients: usize,
        nodes: usize,
    ) -> anyhow::Result<Figures> {
        let works = self.works(kind, clients, nodes).await?;
        let figures = load::run(name, works, pace, self.span, &self.cluster.pids()).await?;
        println!("{}", figures.row());
        Ok(figures)
    }
}

/// A client on a connection of its own.
struct One {
    connection: Connection,
    kind: Kind,
    secrets: usize,
    body: Bytes,
}

impl Work for One {
    async fn once(&mut self, turn: usize) -> anyhow::Result<()> {
        let path = format!("secret/data/apps/{}/settings", turn % self.secrets);
        let (status, _) = match self.kind {
            Kind::Read => self.connection.send("GET", &path, Bytes::new()).await?,
            Kind::Write => self.connection.send("PUT", &path, self.body.clone()).await?,
        };
        anyhow::ensure!(status == 200, "{path}: {status}");
        Ok(())
    }
}

/// A policy of 20 rules, and a service token with it and `default`.
async fn make_token(root: &Http) -> anyhow::Result<String> {
    let mut rules = vec![
        r#"path "secret/data/apps/+/settings" { capabilities = ["create", "read", "update"] }"#
            .to_owned(),
    ];
    for number in 1..20 {
        rules.push(format!(
            r#"path "secret/data/team-{number}/*" {{ capabilities = ["read", "list"] }}"#
        ));
    }
    let policy = json!({"policy": rules.join("\n")});
    let (status, body) = root.put("sys/policies/acl/bench", &policy).await?;
    anyhow::ensure!(status == 204, "policy: {status} {body:?}");
    let wanted = json!({"policies": ["bench"], "ttl": "1h"});
    let (status, body) = root.put("auth/token/create", &wanted).await?;
    anyhow::ensure!(status == 200, "token: {status}");
    let answer: Value = serde_json::from_slice(&body)?;
    Ok(answer["auth"]["client_token"].as_str().context("no token")?.to_owned())
}

/// Connections that write the secrets at first.
const FILLERS: usize = 64;
/// Connections of the point at a fixed rate.
const RATE_CLIENTS: usize = 64;

//! Debian's etcd beside us in the same run: three members, TLS on clients and peers, the same
//! client library (tonic), the same number of clients a connection.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use prost::bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::process::{Child, Command};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

use crate::load::{self, Figures, Pace, Work};
use crate::pace;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Durable writes to the leader.
    Put,
    /// Linearizable reads from the leader.
    Get,
}

/// Three members and their files.
pub(crate) struct Etcd {
    members: Vec<Child>,
    endpoints: Vec<String>,
    ca: String,
    leader: usize,
    _directory: tempfile::TempDir,
}

impl Etcd {
    /// Starts them on free ports; an error that says what to install where `etcd` is not there.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let files = Files::make(directory.path())?;
        let ports = free_ports(2 * MEMBERS)?;
        let url = |port: &u16| format!("https://127.0.0.1:{port}");
        let (clients, peers) = ports.split_at(MEMBERS);
        let cluster: Vec<_> =
            peers.iter().enumerate().map(|(n, port)| format!("m{n}={}", url(port))).collect();
        let mut members = Vec::new();
        for (number, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let log = std::fs::File::create(directory.path().join(format!("m{number}.log")))?;
            let mut command = Command::new("etcd");
            command
                .args(["--name", &format!("m{number}"), "--data-dir"])
                .arg(directory.path().join(format!("m{number}")))
                .args(["--listen-client-urls", &url(client)])
                .args(["--advertise-client-urls", &url(client)])
                .args(["--listen-peer-urls", &url(peer)])
                .args(["--initial-advertise-peer-urls", &url(peer)])
                .args(["--initial-cluster", &cluster.join(",")]);
            files.pass(&mut command);
            let member = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .context("etcd: `apt install etcd-server` gives it")?;
            members.push(member);
        }
        let endpoints = clients.iter().map(url).collect();
        let mut etcd =
            Self { members, endpoints, ca: files.ca_text, leader: 0, _directory: directory };
        etcd.leader = etcd.wait_for_leader().await?;
        Ok(etcd)
    }

    /// Processes of the members.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(Child::id).collect()
    }

    /// Runs `clients` clients for `span`.
    pub(crate) async fn run(
        &self,
        operation: Operation,
        clients: usize,
        span: Duration,
        value_bytes: usize,
    ) -> anyhow::Result<Figures> {
        let value = Bytes::from("x".repeat(value_bytes));
        let mut channels = Vec::new();
        for _ in 0..clients.div_ceil(CLIENTS_PER_CONNECTION) {
            channels.push(self.channel(self.leader).await?);
        }
        fill(&channels[0], &value).await?;
        let works = (0..clients)
            .map(|n| {
                let channel = channels[n % channels.len()].clone();
                One { channel, operation, value: value.clone() }
            })
            .collect();
        let name = match operation {
            Operation::Put => "etcd: durable put",
            Operation::Get => "etcd: linearizable get, leader",
        };
        load::run(name, works, Pace::Closed, span, &self.pids()).await
    }

    /// Ends the members.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.kill().await?;
        }
        Ok(())
    }

    async fn channel(&self, member: usize) -> anyhow::Result<Channel> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        let endpoint = Endpoint::from_shared(self.endpoints[member].clone())?
            .tls_config(tls)?
            .tcp_nodelay(true);
        Ok(endpoint.connect().await?)
    }

    /// The member that says it leads, once one does and takes a write.
    async fn wait_for_leader(&self) -> anyhow::Result<usize> {
        let mut leader = 0;
        pace::until(START_MAX, "the start of etcd", async || {
            for member in 0..MEMBERS {
                let Ok(channel) = self.channel(member).await else { continue };
                let status: Result<Status, _> = call(channel, STATUS, Empty {}).await;
                let Ok(status) = status else { continue };
                let me = status.header.map(|header| header.member_id);
                if status.leader != 0 && me == Some(status.leader) {
                    leader = member;
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await?;
        Ok(leader)
    }
}

struct One {
    channel: Channel,
    operation: Operation,
    value: Bytes,
}

impl Work for One {
    async fn once(&mut self, turn: usize) -> anyhow::Result<()> {
        let key = Bytes::from(format!("bench/{}", turn % KEYS));
        match self.operation {
            Operation::Put => {
                let _: Empty = put(self.channel.clone(), key, self.value.clone()).await?;
            }
            Operation::Get => {
                let found: Found = call(self.channel.clone(), RANGE, Range { key }).await?;
                anyhow::ensure!(found.count == 1, "a key is missing");
            }
        }
        Ok(())
    }
}

async fn fill(channel: &Channel, value: &Bytes) -> anyhow::Result<()> {
    for key in 0..KEYS {
        let _: Empty = put(channel.clone(), format!("bench/{key}").into(), value.clone()).await?;
    }
    Ok(())
}

async fn put(channel: Channel, key: Bytes, value: Bytes) -> anyhow::Result<Empty> {
    call(channel, PUT, Put { key, value }).await
}

/// One unary call.
async fn call<Q, A>(channel: Channel, path: &'static str, request: Q) -> anyhow::Result<A>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await?;
    let codec = ProstCodec::<Q, A>::default();
    let path = PathAndQuery::from_static(path);
    Ok(grpc.unary(tonic::Request::new(request), path, codec).await?.into_inner())
}

/// The part of etcd's v3 API that is needed here (etcd 3.4, `rpc.proto`).
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// One key, linearizable.
#[derive(Clone, PartialEq, prost::Message)]
struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Found {
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// An authority and one certificate for everybody.
struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    ca_text: String,
}

impl Files {
    fn make(directory: &Path) -> anyhow::Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_text = params.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate()?;
        let leaf =
            CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        let file = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
            let path = directory.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Self {
            ca: file("ca.pem", &ca_text)?,
            certificate: file("member.pem", &leaf.pem())?,
            key: file("member.key", &key.serialize_pem())?,
            ca_text,
        })
    }

    fn pass(&self, command: &mut Command) {
        for (option, file) in [
            ("--cert-file", &self.certificate),
            ("--key-file", &self.key),
            ("--peer-cert-file", &self.certificate),
            ("--peer-key-file", &self.key),
            ("--peer-trusted-ca-file", &self.ca),
        ] {
            command.arg(option).arg(file);
        }
    }
}

fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let bound: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    bound.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

const MEMBERS: usize = 3;
const KEYS: usize = 1_000;
const CLIENTS_PER_CONNECTION: usize = 8;
const START_MAX: Duration = Duration::from_secs(30);

//! Where a development cluster's files lie, and what stands in them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use conclave_ports::Ports;
use serde_json::json;

use super::cluster::DevOptions;
use crate::files::write_private;
use crate::tls::{DevCa, make_dev_ca, sign_dev_server};

/// One node's addresses and files.
#[derive(Debug, Clone)]
pub(super) struct NodeLayout {
    pub(super) name: String,
    pub(super) api: SocketAddr,
    pub(super) cluster: SocketAddr,
    pub(super) data_dir: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    /// Whether its public listener is without TLS.
    pub(super) plain: bool,
}

impl NodeLayout {
    pub(super) fn api_addr(&self) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}", self.api)
    }
}

/// How the nodes get at the root key after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DevSeal {
    /// By shares; the other nodes are unsealed by the first.
    Shamir,
    /// By a key file beside the nodes: each unseals by itself.
    Static,
}

impl DevSeal {
    /// As `--seal` takes it.
    fn name(self) -> &'static str {
        match self {
            Self::Shamir => "shamir",
            Self::Static => "static",
        }
    }
}

/// The files of a whole cluster.
pub(super) struct Layout {
    pub(super) base: PathBuf,
    /// Who signed the public listeners' certificates, where there are any.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) nodes: Vec<NodeLayout>,
}

impl Layout {
    /// Writes what is missing below the data directory; what an earlier start left is used again,
    /// so that the nodes find their peers where they were.
    pub(super) fn prepare(options: &DevOptions, ports: &Ports) -> anyhow::Result<Self> {
        let DevOptions { nodes, base_port, seal, .. } = *options;
        let base = options.data_dir.canonicalize().context("the data directory")?;
        let ca_file = |nodes: &[NodeLayout]| {
            nodes.iter().any(|node| !node.plain).then(|| base.join("ca.pem"))
        };
        let existing = existing_nodes(&base)?;
        if !existing.is_empty() {
            anyhow::ensure!(
                existing.len() == usize::from(nodes),
                "{} holds a cluster of {} nodes; give --nodes {} or another --data-dir",
                base.display(),
                existing.len(),
                existing.len()
            );
            refuse_differences(&base, &existing[0], options)?;
            return Ok(Self { ca_file: ca_file(&existing), base, nodes: existing });
        }
        let nodes = place_nodes(&base, nodes, base_port, options.plain_http)?;
        let ca_file = ca_file(&nodes);
        let ca = match &ca_file {
            Some(path) => {
                let ca = make_dev_ca()?;
                write_private(path, ca.certificate_pem.as_bytes())?;
                Some(ca)
            }
            None => None,
        };
        write_private(&base.join("join.secret"), hex::encode(ports.random::<32>()).as_bytes())?;
        if seal == Some(DevSeal::Static) {
            write_private(&base.join("seal.key"), hex::encode(ports.random::<32>()).as_bytes())?;
        }
        for node in &nodes {
            write_node(&base, node, &nodes, ca.as_ref(), options)?;
        }
        Ok(Self { base, ca_file, nodes })
    }
}

/// What an existing cluster was made with stays; asking for something else is a mistake to tell.
fn refuse_differences(base: &Path, first: &NodeLayout, options: &DevOptions) -> anyhow::Result<()> {
    let seal = if base.join("seal.key").exists() { DevSeal::Static } else { DevSeal::Shamir };
    if options.seal.is_some_and(|asked| asked != seal) {
        let name = seal.name();
        anyhow::bail!(
            "{} holds a cluster with the {name} seal; give --seal {name}, leave it out, or give \
             another --data-dir",
            base.display()
        );
    }
    if options.plain_http && !first.plain {
        anyhow::bail!(
            "{} holds a cluster with TLS; leave out --plain-http, or give another --data-dir",
            base.display()
        );
    }
    let port = first.api.port();
    if options.base_port.is_some_and(|asked| asked != port) {
        anyhow::bail!(
            "{} holds a cluster whose first port is {port}; leave out --listen-base-port, or give \
             another --data-dir",
            base.display()
        );
    }
    Ok(())
}

fn place_nodes(
    base: &Path,
    nodes: u16,
    base_port: Option<u16>,
    plain: bool,
) -> anyhow::Result<Vec<NodeLayout>> {
    let ports = match base_port {
        Some(first) => (0..2 * nodes)
            .map(|i| first.checked_add(i).context("--listen-base-port is too high"))
            .collect::<anyhow::Result<Vec<_>>>()?,
        None => free_ports(usize::from(2 * nodes))?,
    };
    Ok((0..usize::from(nodes))
        .map(|i| {
            let name = format!("node-{}", i + 1);
            let directory = base.join(&name);
            NodeLayout {
                api: (Ipv4Addr::LOCALHOST, ports[2 * i]).into(),
                cluster: (Ipv4Addr::LOCALHOST, ports[2 * i + 1]).into(),
                data_dir: directory.join("data"),
                config: directory.join("config.json"),
                log: directory.join("node.log"),
                plain,
                name,
            }
        })
        .collect())
}

/// Ports that were free a moment ago, all different.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<_>, _>>()
        .context("no free port on loopback")?;
    listeners.iter().map(|l| Ok(l.local_addr()?.port())).collect()
}

fn write_node(
    base: &Path,
    node: &NodeLayout,
    all: &[NodeLayout],
    ca: Option<&DevCa>,
    options: &DevOptions,
) -> anyhow::Result<()> {
    let directory = base.join(&node.name);
    crate::files::make_private_dir(&directory)?;
    let peers: Vec<_> = all
        .iter()
        .filter(|peer| peer.name != node.name)
        .map(|peer| {
            json!({"leader_api_addr": peer.api_addr(), "leader_cluster_addr": peer.cluster.to_string()})
        })
        .collect();
    let mut config = json!({
        "cluster_name": "dev",
        "api_addr": node.api_addr(),
        "cluster_addr": node.cluster.to_string(),
        "log_level": "info",
        "listener": {"tcp": {
            "address": node.api.to_string(),
            "cluster_address": node.cluster.to_string(),
        }},
        "storage": {"raft": {"path": "data", "node_id": node.name, "retry_join": peers}},
        "join_secret_file": "../join.secret",
        "peer_unseal": {"allow": true, "allow_join_secret_members": true},
    });
    match ca {
        Some(ca) => {
            let names = ["127.0.0.1", "localhost"].map(str::to_owned);
            let made = sign_dev_server(ca, &names)?;
            write_private(&directory.join("api.crt"), made.certificate_pem.as_bytes())?;
            write_private(&directory.join("api.key"), made.key_pem.as_bytes())?;
            config["listener"]["tcp"]["tls_cert_file"] = json!("api.crt");
            config["listener"]["tcp"]["tls_key_file"] = json!("api.key");
        }
        None => config["listener"]["tcp"]["tls_disable"] = json!(true),
    }
    if options.seal == Some(DevSeal::Static) {
        config["seal"] = json!({"static": {"key_file": "../seal.key"}});
    }
    if options.record_peer_frames {
        config["danger_record_peer_frames"] = json!("peer-frames.bin");
    }
    write_private(&node.config, serde_json::to_string_pretty(&config)?.as_bytes())
}

/// The nodes that an earlier start placed below `base`, in order.
fn existing_nodes(base: &Path) -> anyhow::Result<Vec<NodeLayout>> {
    let mut nodes = Vec::new();
    loop {
        let name = format!("node-{}", nodes.len() + 1);
        let directory = base.join(&name);
        let config = directory.join("config.json");
        if !config.exists() {
            return Ok(nodes);
        }
        let parsed = crate::config::Config::load(std::slice::from_ref(&config))?;
        let listener = &parsed.listeners[0];
        nodes.push(NodeLayout {
            api: listener.address.to_string().parse().context("listener address")?,
            cluster: parsed.cluster_address.to_string().parse().context("cluster address")?,
            plain: listener.plain,
            data_dir: directory.join("data"),
            config,
            log: directory.join("node.log"),
            name,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(base: &Path, base_port: Option<u16>, seal: Option<DevSeal>) -> anyhow::Result<()> {
        let data_dir = base.to_path_buf();
        let options = DevOptions {
            nodes: 1,
            data_dir,
            base_port,
            seal,
            plain_http: false,
            record_peer_frames: false,
        };
        Layout::prepare(&options, &crate::system::ports()).map(drop)
    }

    #[test]
    fn a_cluster_without_tls_stays_one_and_never_has_an_authority() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = |plain_http| DevOptions {
            nodes: 1,
            data_dir: folder.path().to_path_buf(),
            base_port: None,
            seal: None,
            plain_http,
            record_peer_frames: false,
        };
        for plain_http in [true, false] {
            let layout = Layout::prepare(&options(plain_http), &crate::system::ports());
            let layout = layout.expect("made, then found again");
            assert_eq!(layout.ca_file, None);
            assert!(layout.nodes[0].api_addr().starts_with("http://127.0.0.1:"));
        }
        assert!(!folder.path().join("ca.pem").exists());
    }

    #[test]
    fn an_existing_cluster_is_not_asked_to_be_another() {
        let folder = tempfile::tempdir().expect("a folder");
        prepare(folder.path(), Some(41_200), None).expect("made");
        prepare(folder.path(), None, None).expect("nothing is asked");
        prepare(folder.path(), Some(41_200), Some(DevSeal::Shamir)).expect("the same is asked");
        let plain_http = DevOptions {
            nodes: 1,
            data_dir: folder.path().to_path_buf(),
            base_port: None,
            seal: None,
            plain_http: true,
            record_peer_frames: false,
        };
        let error = Layout::prepare(&plain_http, &crate::system::ports()).map(drop);
        let error = error.expect_err("it has TLS");
        assert!(error.to_string().contains("leave out --plain-http"), "{error}");
        let error = prepare(folder.path(), Some(41_300), None).expect_err("another port");
        assert!(error.to_string().contains("first port is 41200"), "{error}");
        let error = prepare(folder.path(), None, Some(DevSeal::Static)).expect_err("another seal");
        assert!(error.to_string().contains("give --seal shamir"), "{error}");
    }
}

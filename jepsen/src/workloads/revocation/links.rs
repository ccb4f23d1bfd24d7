//! The links between nodes, each of which can be cut by itself.
//!
//! Every node listens for peers behind a proxy at the address that the others know. Which node dials
//! is told from who owns the socket at the other end, so that a link has a direction. What a cut link
//! holds back is delivered once it heals, as TCP would.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::{pace, ports};

/// All of them.
pub(super) struct Links {
    shared: Arc<Shared>,
    accepting: Vec<JoinHandle<()>>,
}

struct Shared {
    /// From one place to another.
    cut: Mutex<BTreeSet<(usize, usize)>>,
    /// Of the node at each place.
    pids: Mutex<Vec<u32>>,
    /// Connections whose dialler could not be told.
    strangers: Mutex<usize>,
}

impl Links {
    /// Puts every node behind a proxy, restarting one after the other.
    pub(super) async fn interpose(
        cluster: &mut Cluster,
        client: &conclave_sdk::Client,
    ) -> anyhow::Result<Self> {
        let pids = cluster.ready.nodes.iter().map(|node| node.pid).collect();
        let shared =
            Shared { cut: Mutex::default(), pids: Mutex::new(pids), strangers: Mutex::default() };
        let mut links = Self { shared: Arc::new(shared), accepting: Vec::new() };
        for place in 0..cluster.ready.nodes.len() {
            let known = peer_address(&cluster.ready.nodes[place].config)?;
            let behind = SocketAddr::from(([127, 0, 0, 1], ports::take(1)?));
            cluster.end(place).await?;
            let listener = TcpListener::bind(known).await.context("where peers dial")?;
            cluster.configure(place, |config| {
                config["listener"]["tcp"]["cluster_address"] = json!(behind.to_string());
            })?;
            links.accepting.push(pace::task(accept(listener, behind, place, links.shared.clone())));
            cluster.restart(place)?;
            links.restarted(cluster, place);
            cluster.wait_caught_up(client, place, 1).await?;
        }
        Ok(links)
    }

    /// A node has another process.
    pub(super) fn restarted(&self, cluster: &Cluster, place: usize) {
        lock(&self.shared.pids)[place] = cluster.ready.nodes[place].pid;
    }

    /// Cuts a node off from all others, in both directions.
    pub(super) fn isolate(&self, place: usize) {
        let count = lock(&self.shared.pids).len();
        let others = (0..count).filter(|other| *other != place);
        lock(&self.shared.cut).extend(others.flat_map(|other| [(place, other), (other, place)]));
    }

    /// Heals every link.
    pub(super) fn heal(&self) {
        lock(&self.shared.cut).clear();
    }

    /// Connections whose dialler could not be told: a cut would not have held them back.
    pub(super) fn strangers(&self) -> usize {
        *lock(&self.shared.strangers)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn is_cut(&self, link: (usize, usize)) -> bool {
        lock(&self.cut).contains(&link)
    }

    async fn wait_until_healed(&self, link: (usize, usize)) {
        while self.is_cut(link) {
            pace::pause(POLL).await;
        }
    }

    /// The place of the node that has this socket.
    fn owner(&self, inode: &str) -> Option<usize> {
        let pids = lock(&self.pids).clone();
        pids.iter().position(|pid| owns(*pid, inode))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn peer_address(config: &Path) -> anyhow::Result<SocketAddr> {
    let config: Value = serde_json::from_slice(&std::fs::read(config)?)?;
    let address = config["listener"]["tcp"]["cluster_address"].as_str().context("no address")?;
    address.parse().context("an address")
}

async fn accept(listener: TcpListener, behind: SocketAddr, place: usize, shared: Arc<Shared>) {
    while let Ok((peer, from)) = listener.accept().await {
        // Whoever dialled and died before it was let in has no socket any more.
        let Some(inode) = listener.local_addr().ok().and_then(|to| inode(from, to)) else {
            continue;
        };
        match shared.owner(&inode) {
            Some(dialler) => drop(pace::task(pass(peer, behind, (dialler, place), shared.clone()))),
            None => *lock(&shared.strangers) += 1,
        }
    }
}

async fn pass(peer: TcpStream, behind: SocketAddr, link: (usize, usize), shared: Arc<Shared>) {
    shared.wait_until_healed(link).await;
    let Ok(node) = TcpStream::connect(behind).await else { return };
    let _ = (peer.set_nodelay(true), node.set_nodelay(true));
    let ((mut from_peer, mut to_peer), (mut from_node, mut to_node)) =
        (peer.into_split(), node.into_split());
    let back = (link.1, link.0);
    tokio::select! {
        () = copy(&mut from_peer, &mut to_node, link, &shared) => {}
        () = copy(&mut from_node, &mut to_peer, back, &shared) => {}
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    link: (usize, usize),
    shared: &Shared,
) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(n) = from.read(&mut piece).await {
        shared.wait_until_healed(link).await;
        if n == 0 || to.write_all(&piece[..n]).await.is_err() {
            return;
        }
    }
}

/// Of the open socket from one address to the other, as the kernel lists it.
fn inode(from: SocketAddr, to: SocketAddr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let ends = |text: &str, port: u16| text.ends_with(&format!(":{port:04X}"));
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (words.next()?, words.next()?);
        let inode = words.nth(6)?;
        let is_it = ends(local, from.port()) && ends(remote, to.port());
        // One that was closed has none.
        (is_it && inode != "0").then(|| inode.to_owned())
    })
}

fn owns(pid: u32, inode: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let socket = format!("socket:[{inode}]");
    files.flatten().any(|file| {
        std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket.as_str())
    })
}

const PIECE_BYTES: usize = 64 << 10;
const POLL: Duration = Duration::from_millis(10);

//! A TCP proxy between client and node that loses answers: with a set probability it throws away
//! what the node sent and cuts the connection, so that the client cannot know what became of its
//! request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::pace;

/// A running proxy in front of one node.
pub(crate) struct Proxy {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    loss_percent: u64,
    /// State of a linear congruential generator: the losses repeat from run to run in their rate,
    /// not in their places.
    random: AtomicU64,
    dropped: AtomicU64,
}

impl Proxy {
    /// Listens on loopback; of a hundred pieces that the node sends, `loss_percent` are lost.
    pub(crate) async fn start(target: SocketAddr, loss_percent: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            loss_percent,
            random: AtomicU64::new(u64::from(target.port())),
            dropped: AtomicU64::new(0),
        });
        let accepting = pace::task(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// Answers lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        pace::task(pass(client, shared.clone()));
    }
}

async fn pass(mut client: TcpStream, shared: Arc<Shared>) {
    let Ok(mut node) = TcpStream::connect(shared.target).await else { return };
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let (mut up, mut down) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut answers = 0;
    loop {
        tokio::select! {
            biased;
            read = client.read(&mut up) => match read {
                Ok(n) if n > 0 && node.write_all(&up[..n]).await.is_ok() => {}
                _ => return,
            },
            read = node.read(&mut down) => {
                let Ok(n) = read else { return };
                answers += 1;
                if answers > HANDSHAKE_PIECES && shared.loses() {
                    shared.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                if n == 0 || client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Shared {
    fn loses(&self) -> bool {
        let before =
            self.random.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(next(x)));
        // The high bits of such a generator are the good ones.
        let high = next(before.unwrap_or_default()) >> 33;
        high % 100 < self.loss_percent
    }
}

/// Knuth's MMIX generator.
fn next(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

const PIECE_BYTES: usize = 64 << 10;
/// The TLS handshake takes this many; losing those would only cost time.
const HANDSHAKE_PIECES: u32 = 2;

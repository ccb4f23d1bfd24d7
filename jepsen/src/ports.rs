//! Ports for nodes, below those that the system gives to outgoing connections: a node that is down
//! for a while must find its port free when it is started again.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(0);

/// The first of `count` consecutive ports that nobody listens on.
pub(crate) fn take(count: u16) -> anyhow::Result<u16> {
    // Two runs of this program at the same time begin far from each other.
    let begin = u16::try_from(std::process::id().wrapping_mul(APART) % u32::from(RANGE))?;
    for _ in 0..TRIES_MAX {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed).wrapping_add(begin) % RANGE;
        let first = FIRST + offset;
        if (first..first + count).all(|port| is_free(([127, 0, 0, 1], port).into())) {
            return Ok(first);
        }
    }
    anyhow::bail!("no {count} free ports in a row from {FIRST} on")
}

/// Whether nobody listens there.
pub(crate) fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

const FIRST: u16 = 12_000;
const RANGE: u16 = 19_000;
const APART: u32 = 211;
const TRIES_MAX: usize = 500;

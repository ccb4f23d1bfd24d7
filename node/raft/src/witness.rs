//! What this node sees of its peers' disks, kept so that it can tell them when they start again
//! (see [`crate::greeting`]).
//!
//! Every figure noted here is a fact about a disk that never goes back by itself: terms whose vote
//! was synced, and entries that were both synced there and committed.

use std::cmp::min_by_key;
use std::sync::Arc;
use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::LogId;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, ServerState};

use crate::blocking;
use crate::convert::encode;
use crate::node::Node;

/// What was seen is on disk at most this much later.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the node stops. What followers acknowledged is noted every heartbeat: one that dies
/// now asks for it before the next second is over.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let clock = node.ports.clock.clone();
    let mut save_at = clock.monotonic() + SAVE_INTERVAL;
    while !node.flags.stopping() {
        node.pause(node.config.heartbeat).await;
        note_followers(&node);
        let now = clock.monotonic();
        if now < save_at {
            continue;
        }
        save_at = now + SAVE_INTERVAL;
        let seen = node.seen.clone();
        match blocking::run::<R, _>(move || seen.save()).await {
            Ok(Ok(())) => {}
            // It is a guard less, for others; the log's writer decides whether this disk is lost.
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(%error, "what was seen of the peers was not saved");
            }
        }
    }
}

/// A leader knows at any moment what its followers acknowledged.
fn note_followers<R: AsyncRuntime>(node: &Node<R>) {
    let metrics = node.metrics.borrow_watched();
    if metrics.state != ServerState::Leader {
        return;
    }
    let (Some(replication), Some(committed)) = (&metrics.replication, metrics.local_committed)
    else {
        return;
    };
    let others = replication.iter().filter(|(id, _)| **id != node.config.node_id);
    for (node_id, matched) in others {
        let Some(matched) = matched else { continue };
        let durable = min_by_key(*matched, committed, |id| id.index);
        node.seen.saw(&v1::Seen {
            node_id: *node_id,
            durable: Some(encode::log_id(&durable)),
            ..v1::Seen::default()
        });
    }
}

impl<R: AsyncRuntime> Node<R> {
    /// Takes note of what a peer says that it has on disk.
    pub(crate) fn note_peer(&self, node_id: u64, status: &v1::StatusReply) {
        if let Some(own) = status.own.filter(|own| own.node_id == node_id) {
            self.seen.saw(&own);
        }
    }

    /// What this node has on disk.
    pub(crate) fn own(&self) -> v1::Seen {
        v1::Seen {
            node_id: self.config.node_id,
            boot_counter: self.boot_counter,
            vote_term: self.vote_saved.get(),
            durable: self.durable(),
        }
    }

    /// The newest entry that is on disk and known to be committed, where that can be told.
    fn durable(&self) -> Option<LogId> {
        let committed = self.metrics.borrow_watched().local_committed;
        let committed = encode::log_id_option(committed.as_ref())?;
        Some(min_by_key(committed, self.log.synced()?, |id| id.index))
    }
}

//! Tells others what openraft's metrics say: those who wait for a change, and the metrics page.

use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;

use crate::node::Node;
use crate::observe;
use crate::{Consensus, RaftStatus};

/// A busy node's metrics change with every entry; they are looked at this often.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(10);

/// Runs until Raft ends.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let mut metrics = node.metrics.clone();
    let mut before = RaftStatus::default();
    loop {
        let (now, purged) = {
            let metrics = metrics.borrow_and_update();
            (observe::status::<R>(&metrics, node.quorum_age_max()), metrics.purged)
        };
        publish(&now, purged.map_or(0, |id| id.index), node.proposals.waiting());
        if differs(&before, &now) {
            node.changes.bump();
        }
        before = now;
        if metrics.changed().await.is_err() {
            break;
        }
        node.pause(OBSERVE_INTERVAL).await;
    }
    // A core that panicked leaves metrics that look alive.
    if !node.flags.stopping() {
        node.flags.die();
    }
    node.changes.bump();
    if let Some(fatal) = node.status().fatal {
        tracing::error!(fatal, "raft has ended by itself; the process must end and be looked at");
    }
}

fn differs(before: &RaftStatus, now: &RaftStatus) -> bool {
    before.term != now.term
        || before.leader_id != now.leader_id
        || before.is_leader != now.is_leader
        || before.has_quorum != now.has_quorum
        || before.membership_index != now.membership_index
        || before.members != now.members
        || before.fatal != now.fatal
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; indices stay below 2^53")]
fn publish(status: &RaftStatus, purged: u64, waiting: usize) {
    metrics::gauge!("conclave_raft_term").set(status.term as f64);
    metrics::gauge!("conclave_raft_leader").set(f64::from(u8::from(status.is_leader)));
    metrics::gauge!("conclave_raft_applied_index").set(status.applied_index as f64);
    metrics::gauge!("conclave_raft_committed_index").set(status.committed_index as f64);
    metrics::gauge!("conclave_raft_purged_index").set(purged as f64);
    metrics::gauge!("conclave_raft_proposals_waiting").set(waiting as f64);
}

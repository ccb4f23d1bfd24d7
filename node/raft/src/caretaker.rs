//! Sealed nodes: they vote and replicate, but campaign only where nobody else leads.
//!
//! openraft campaigns for a ready node by itself. For a sealed one its election timer is off, and
//! this task decides: after three election timeouts without a leader it asks openraft for a
//! pre-vote and, if it wins, leads as *caretaker*. A caretaker commits, applies and answers
//! ReadIndex, takes no command, and hands over to the first unsealed voter it finds.

use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;

use crate::node::Node;

/// Election timeouts without a leader before a sealed node campaigns.
const PATIENCE_ELECTIONS: u32 = 3;
/// Heartbeats between two looks for an unsealed successor.
const HAND_OVER_HEARTBEATS: u32 = 5;

/// Runs until the node stops.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let clock = node.ports.clock.clone();
    let (heartbeat, mut beats) = (node.config.heartbeat, 0_u32);
    let mut last_heard = clock.monotonic();
    let mut campaign_at = last_heard + patience(&node);
    while !node.flags.stopping() {
        node.pause(heartbeat).await;
        beats = beats.wrapping_add(1);
        if node.is_leader() {
            campaign_at = clock.monotonic() + patience(&node);
            if node.flags.sealed() && beats.is_multiple_of(HAND_OVER_HEARTBEATS) {
                hand_over(&node).await;
            }
            node.tend_members().await;
        } else if node.flags.sealed() {
            let now = clock.monotonic();
            let heard = node.flags.heard();
            if heard > last_heard {
                last_heard = heard;
                campaign_at = heard + patience(&node);
            }
            if now >= campaign_at {
                campaign(&node).await;
                campaign_at = now + node.config.election_timeout_max + jitter(&node);
            }
        }
    }
}

async fn campaign<R: AsyncRuntime>(node: &Node<R>) {
    if !node.voters().contains(&node.config.node_id) {
        return;
    }
    tracing::info!("nobody leads; this sealed node offers to be caretaker");
    // A Raft that has ended is noticed by the observer, not here.
    drop(node.raft.trigger().elect(true).await);
}

async fn hand_over<R: AsyncRuntime>(node: &Node<R>) {
    if let Err(error) = node.transfer().await {
        tracing::debug!(%error, "the caretaker stays");
    }
}

/// Differs from campaign to campaign, so that two sealed nodes do not split the vote for ever.
fn patience<R: AsyncRuntime>(node: &Node<R>) -> Duration {
    node.config.election_timeout_max * PATIENCE_ELECTIONS + jitter(node)
}

fn jitter<R: AsyncRuntime>(node: &Node<R>) -> Duration {
    let random = u32::from_le_bytes(node.ports.random());
    node.config.election_timeout_max.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

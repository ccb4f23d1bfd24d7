//! Nodes that had better not lead: they vote and replicate, but campaign only where nobody else
//! leads. They are sealed, or their disk is full or too slow.
//!
//! openraft campaigns for a fit node by itself. For any other its election timer is off, and this
//! task decides: after three election timeouts without a leader it asks openraft for a pre-vote
//! and, if it wins, leads as *caretaker*. A sealed caretaker commits, applies and answers
//! ReadIndex, and takes no command; one whose disk is full takes those that free space. A
//! caretaker hands over to the first voter it finds that leads better; so does a leader that
//! becomes unfit.

use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;

use crate::node::Node;

/// Election timeouts without a leader before an unfit node campaigns.
const PATIENCE_ELECTIONS: u32 = 3;
/// Heartbeats between two looks for a fitter successor.
const HAND_OVER_HEARTBEATS: u32 = 5;

/// Runs until the node stops.
pub(crate) async fn run<R: AsyncRuntime>(node: Arc<Node<R>>) {
    let clock = node.ports.clock.clone();
    let heartbeat = node.config.heartbeat;
    let mut last_heard = clock.monotonic();
    let mut campaign_at = last_heard + patience(&node);
    let mut hand_over_at = Duration::ZERO;
    while !node.flags.stopping() {
        node.pause(heartbeat).await;
        let now = clock.monotonic();
        if node.flags.fit() {
            campaign_at = now + patience(&node);
        } else if node.is_leader() {
            campaign_at = now + patience(&node);
            if now >= hand_over_at {
                hand_over(&node).await;
                hand_over_at = clock.monotonic() + heartbeat * HAND_OVER_HEARTBEATS;
            }
        } else {
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

/// Tends the members while this node leads, until it stops. Apart from the rest: a change of
/// members waits for a quorum, and a hand-over must not wait for that.
pub(crate) async fn tend<R: AsyncRuntime>(node: Arc<Node<R>>) {
    while !node.flags.stopping() {
        node.pause(node.config.heartbeat).await;
        if node.is_leader() {
            node.tend_members().await;
        }
    }
}

async fn campaign<R: AsyncRuntime>(node: &Node<R>) {
    if !node.voters().contains(&node.config.node_id) {
        return;
    }
    tracing::info!("nobody leads; this node offers to be caretaker");
    // A Raft that has ended is noticed by the observer, not here.
    drop(node.raft.trigger().elect(true).await);
}

async fn hand_over<R: AsyncRuntime>(node: &Node<R>) {
    if let Err(error) = node.transfer_to_fitter().await {
        tracing::debug!(%error, "the caretaker stays");
    }
}

/// Differs from campaign to campaign, so that two such nodes do not split the vote for ever.
fn patience<R: AsyncRuntime>(node: &Node<R>) -> Duration {
    node.config.election_timeout_max * PATIENCE_ELECTIONS + jitter(node)
}

fn jitter<R: AsyncRuntime>(node: &Node<R>) -> Duration {
    let random = u32::from_le_bytes(node.ports.random());
    node.config.election_timeout_max.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

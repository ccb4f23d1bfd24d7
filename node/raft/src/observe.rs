//! Reading openraft's metrics.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, Instant, RaftMetrics, ServerState, alias};

use crate::convert::encode;
use crate::types::{Membership, TypeConfig};
use crate::{MemberView, RaftStatus, Target};

pub(crate) type MetricsOf<R> = RaftMetrics<TypeConfig<R>>;
pub(crate) type MetricsReceiver<R> = alias::WatchReceiverOf<TypeConfig<R>, MetricsOf<R>>;

/// Who leads, as far as this node knows.
pub(crate) enum Leader {
    Myself,
    Peer(Target),
    Unknown,
}

pub(crate) fn leader<R: AsyncRuntime>(metrics: &MetricsReceiver<R>, node_id: u64) -> Leader {
    let metrics = metrics.borrow_watched();
    if metrics.state == ServerState::Leader {
        return Leader::Myself;
    }
    let members = metrics.membership_config.membership();
    match metrics.current_leader {
        // It was deposed and has not heard of a successor.
        None => Leader::Unknown,
        Some(id) if id == node_id => Leader::Unknown,
        Some(id) => target(members, id).map_or(Leader::Unknown, Leader::Peer),
    }
}

/// Where to reach a member.
pub(crate) fn target(members: &Membership, node_id: u64) -> Option<Target> {
    let info = members.get_node(&node_id)?;
    Some(Target { node_id, member: encode::member(node_id, info) })
}

/// Every other member.
pub(crate) fn peers(members: &Membership, node_id: u64) -> Vec<Target> {
    let others = members.nodes().filter(|(id, _)| **id != node_id);
    others.map(|(id, info)| Target { node_id: *id, member: encode::member(*id, info) }).collect()
}

/// Everything that [`crate::Consensus::status`] tells and openraft knows.
/// `quorum_age_max`: an older answer of a quorum no longer counts.
pub(crate) fn status<R: AsyncRuntime>(
    metrics: &MetricsOf<R>,
    quorum_age_max: Duration,
) -> RaftStatus {
    let stored = &metrics.membership_config;
    RaftStatus {
        node_id: metrics.id,
        term: metrics.current_term,
        leader_id: metrics.current_leader,
        is_leader: metrics.state == ServerState::Leader,
        has_quorum: has_quorum::<R>(metrics, quorum_age_max),
        last_log_index: metrics.last_log_index.unwrap_or(0),
        committed_index: metrics.local_committed.map_or(0, |id| id.index),
        applied_index: metrics.last_applied.map_or(0, |id| id.index),
        members: members(stored.membership()),
        membership_index: stored.log_id().map_or(0, |id| id.index),
        quarantined: false,
        fenced: false,
        rolled_back: false,
        unfit: false,
        epoch: 1,
        fatal: metrics.running_state.as_ref().err().map(ToString::to_string),
    }
}

/// Whether this node leads and a quorum has answered it within `quorum_age_max`.
pub(crate) fn leads<R: AsyncRuntime>(metrics: &MetricsOf<R>, quorum_age_max: Duration) -> bool {
    metrics.state == ServerState::Leader && has_quorum::<R>(metrics, quorum_age_max)
}

fn has_quorum<R: AsyncRuntime>(metrics: &MetricsOf<R>, age_max: Duration) -> bool {
    if metrics.state != ServerState::Leader {
        return metrics.current_leader.is_some_and(|leader| leader != metrics.id);
    }
    let is_alone = metrics.membership_config.membership().voter_ids().count() <= 1;
    is_alone || metrics.last_quorum_acked.as_ref().is_some_and(|acked| acked.elapsed() <= age_max)
}

fn members(membership: &Membership) -> Vec<MemberView> {
    let voters: Vec<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes();
    nodes
        .map(|(id, info)| MemberView {
            member: encode::member(*id, info),
            voter: voters.contains(id),
        })
        .collect()
}

//! `conclave.v1` → openraft. A message that lacks what it must have is [`Malformed`].

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::v1;
use conclave_proto::v1::entry::Payload as Wire;
use openraft::RaftTypeConfig;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};

use crate::types::{
    CommandBytes, Entry, LeaderId, LogId, MemberInfo, Membership, Payload, SnapshotMeta,
    StoredMembership, Vote,
};

/// A message that this version cannot understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn log_id(id: &v1::LogId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

pub(crate) fn log_id_option(id: Option<&v1::LogId>) -> Option<LogId> {
    id.map(log_id)
}

pub(crate) fn vote(vote: &v1::Vote) -> Vote {
    Vote {
        leader_id: LeaderId { term: vote.term, voted_for: vote.node_id },
        committed: vote.committed,
    }
}

/// Indices beyond this are nonsense; refusing them spares everyone overflow checks.
const INDEX_MAX: u64 = 1 << 62;

/// A log id from a peer.
pub(crate) fn sane_log_id(id: Option<&v1::LogId>) -> Result<Option<LogId>, Malformed> {
    match id {
        Some(id) if id.index > INDEX_MAX => Err(Malformed("an index out of range")),
        _ => Ok(log_id_option(id)),
    }
}

/// The vote of a message that must carry one, cast by its sender.
pub(crate) fn vote_of_sender(from: u64, wire: Option<&v1::Vote>) -> Result<Vote, Malformed> {
    let wire = wire.ok_or(Malformed("no vote"))?;
    if wire.node_id != from || from == 0 {
        return Err(Malformed("the vote is not the sender's"));
    }
    Ok(vote(wire))
}

pub(crate) fn member(member: &v1::Member) -> (u64, MemberInfo) {
    let info = MemberInfo {
        name: member.name.clone(),
        cluster_addr: member.cluster_addr.clone(),
        api_addr: member.api_addr.clone(),
        spki_pin: member.spki_pin.clone(),
        voter_wanted: member.voter_wanted,
        approved: member.approved,
    };
    (member.node_id, info)
}

pub(crate) fn membership(wire: &v1::Membership) -> Result<Membership, Malformed> {
    if wire.configs.is_empty() && wire.members.is_empty() {
        return Ok(Membership::default());
    }
    if wire.configs.is_empty() {
        return Err(Malformed("a membership without voters"));
    }
    let configs = wire.configs.iter();
    let configs: Vec<BTreeSet<u64>> =
        configs.map(|voters| voters.node_ids.iter().copied().collect()).collect();
    let nodes: BTreeMap<u64, MemberInfo> = wire.members.iter().map(member).collect();
    Membership::new(configs, nodes).map_err(|_| Malformed("a membership without quorum"))
}

pub(crate) fn stored_membership(
    wire: Option<&v1::StoredMembership>,
) -> Result<StoredMembership, Malformed> {
    let Some(wire) = wire else { return Ok(StoredMembership::default()) };
    let members = match &wire.membership {
        Some(members) => membership(members)?,
        None => Membership::default(),
    };
    Ok(StoredMembership::new(log_id_option(wire.log_id.as_ref()), members))
}

pub(crate) fn entry(wire: v1::Entry) -> Result<Entry, Malformed> {
    let id = wire.id.as_ref().ok_or(Malformed("an entry without id"))?;
    let payload = match wire.payload.ok_or(Malformed("an entry without payload"))? {
        Wire::Blank(_) => Payload::Blank,
        Wire::Command(command) => Payload::Normal(CommandBytes(command)),
        Wire::Membership(change) => Payload::Membership(membership(&change)?),
    };
    Ok(Entry { log_id: log_id(id), payload })
}

pub(crate) fn entries(wire: Vec<v1::Entry>) -> Result<Vec<Entry>, Malformed> {
    wire.into_iter().map(entry).collect()
}

pub(crate) fn append_request<C>(
    wire: v1::AppendRequest,
) -> Result<AppendEntriesRequest<C>, Malformed>
where
    C: RaftTypeConfig<Vote = Vote, LeaderId = LeaderId, Entry = Entry>,
{
    let prev_log_id = sane_log_id(wire.prev.as_ref())?;
    let entries = entries(wire.entries)?;
    // openraft trusts its network here: a gap would become a hole in the log.
    let first = prev_log_id.map_or(0, |prev| prev.index + 1);
    if entries.iter().zip(first..).any(|(entry, index)| entry.log_id.index != index) {
        return Err(Malformed("the entries do not follow each other"));
    }
    Ok(AppendEntriesRequest {
        vote: vote_of_sender(wire.from, wire.vote.as_ref())?,
        prev_log_id,
        leader_commit: sane_log_id(wire.committed.as_ref())?,
        entries,
    })
}

pub(crate) fn append_reply<C>(wire: &v1::AppendReply) -> Result<StreamAppendResult<C>, Malformed>
where
    C: RaftTypeConfig<Vote = Vote, LeaderId = LeaderId>,
{
    use v1::append_reply::Outcome;
    Ok(match wire.outcome.as_ref().ok_or(Malformed("a reply without outcome"))? {
        Outcome::Matched(matched) => Ok(log_id_option(matched.last.as_ref())),
        Outcome::Conflict(at) => Err(StreamAppendError::Conflict(log_id(at))),
        Outcome::HigherVote(higher) => Err(StreamAppendError::HigherVote(vote(higher))),
    })
}

pub(crate) fn snapshot_meta(header: &v1::SnapshotHeader) -> Result<SnapshotMeta, Malformed> {
    Ok(SnapshotMeta {
        last_log_id: log_id_option(header.last_log_id.as_ref()),
        last_membership: stored_membership(header.membership.as_ref())?,
    })
}

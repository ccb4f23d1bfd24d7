//! openraft → `conclave.v1`.

use conclave_proto::v1;
use conclave_proto::v1::entry::Payload as Wire;
use openraft::RaftTypeConfig;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};

use crate::types::{Entry, LogId, MemberInfo, Membership, Payload, Vote};

/// The leader's id is left 0: the term names the leader, and replicas must store equal bytes.
pub(crate) fn log_id(id: &LogId) -> v1::LogId {
    v1::LogId { term: id.leader_id.term, leader_id: 0, index: id.index }
}

pub(crate) fn log_id_option(id: Option<&LogId>) -> Option<v1::LogId> {
    id.map(log_id)
}

pub(crate) fn vote(vote: &Vote) -> v1::Vote {
    v1::Vote {
        term: vote.leader_id.term,
        node_id: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn member(node_id: u64, info: &MemberInfo) -> v1::Member {
    v1::Member {
        node_id,
        name: info.name.clone(),
        cluster_addr: info.cluster_addr.clone(),
        api_addr: info.api_addr.clone(),
        spki_pin: info.spki_pin.clone(),
        voter_wanted: info.voter_wanted,
        approved: info.approved,
    }
}

pub(crate) fn membership(membership: &Membership) -> v1::Membership {
    let configs = membership.get_joint_config().iter();
    v1::Membership {
        configs: configs
            .map(|voters| v1::VoterSet { node_ids: voters.iter().copied().collect() })
            .collect(),
        members: membership.nodes().map(|(id, info)| member(*id, info)).collect(),
    }
}

pub(crate) fn entry(entry: &Entry) -> v1::Entry {
    let payload = match &entry.payload {
        Payload::Blank => Wire::Blank(v1::Blank {}),
        Payload::Normal(command) => Wire::Command(command.0.clone()),
        Payload::Membership(change) => Wire::Membership(membership(change)),
    };
    v1::Entry { id: Some(log_id(&entry.log_id)), payload: Some(payload) }
}

pub(crate) fn append_request<C>(from: u64, request: &AppendEntriesRequest<C>) -> v1::AppendRequest
where
    C: RaftTypeConfig<Vote = Vote, LeaderId = crate::types::LeaderId, Entry = Entry>,
{
    v1::AppendRequest {
        from,
        vote: Some(vote(&request.vote)),
        prev: log_id_option(request.prev_log_id.as_ref()),
        committed: log_id_option(request.leader_commit.as_ref()),
        entries: request.entries.iter().map(entry).collect(),
        // Set by whoever sends it.
        leader_ms: 0,
    }
}

pub(crate) fn append_reply<C>(result: &StreamAppendResult<C>) -> v1::AppendReply
where
    C: RaftTypeConfig<Vote = Vote, LeaderId = crate::types::LeaderId>,
{
    use v1::append_reply::Outcome;
    let outcome = match result {
        Ok(last) => Outcome::Matched(v1::Matched { last: log_id_option(last.as_ref()) }),
        Err(StreamAppendError::Conflict(at)) => Outcome::Conflict(log_id(at)),
        Err(StreamAppendError::HigherVote(higher)) => Outcome::HigherVote(vote(higher)),
    };
    v1::AppendReply { outcome: Some(outcome) }
}

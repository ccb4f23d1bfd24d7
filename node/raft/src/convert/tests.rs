//! What is encoded decodes to itself, and what peers send decodes to itself or is refused.

use std::collections::BTreeSet;

use conclave_proto::v1;
use openraft::impls::TokioRuntime;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use proptest::prelude::*;

use super::{decode, encode};
use crate::types::{
    CommandBytes, Entry, LeaderId, LogId, MemberInfo, Membership, Payload, TypeConfig, Vote,
};

type C = TypeConfig<TokioRuntime>;

fn any_log_id() -> impl Strategy<Value = LogId> {
    (0..100_u64, 0..1_000_000_u64).prop_map(|(term, index)| LogId::new_term_index(term, index))
}

fn any_vote() -> impl Strategy<Value = Vote> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, voted_for, committed)| Vote {
        leader_id: LeaderId { term, voted_for },
        committed,
    })
}

fn any_member() -> impl Strategy<Value = MemberInfo> {
    let texts = ("[a-z]{0,8}", "[a-z:0-9]{0,12}", "[a-z:/]{0,12}");
    (texts, any::<[u8; 32]>(), any::<bool>(), any::<bool>()).prop_map(
        |((name, cluster_addr, api_addr), pin, voter_wanted, approved)| MemberInfo {
            name,
            cluster_addr,
            api_addr,
            spki_pin: pin.to_vec().into(),
            voter_wanted,
            approved,
        },
    )
}

fn any_membership() -> impl Strategy<Value = Membership> {
    let nodes = prop::collection::btree_map(1..20_u64, any_member(), 1..6);
    (nodes, any::<bool>()).prop_map(|(nodes, joint)| {
        let voters: BTreeSet<u64> = nodes.keys().copied().collect();
        let first = BTreeSet::from([*voters.first().expect("at least one")]);
        let configs = if joint { vec![first, voters] } else { vec![first] };
        Membership::new(configs, nodes).expect("voters are members")
    })
}

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Blank),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|bytes| Payload::Normal(CommandBytes(bytes.into()))),
        any_membership().prop_map(Payload::Membership),
    ]
}

proptest! {
    #[test]
    fn entries_round_trip(log_id in any_log_id(), payload in any_payload()) {
        let entry = Entry { log_id, payload };
        prop_assert_eq!(decode::entry(encode::entry(&entry)), Ok(entry));
    }

    #[test]
    fn votes_round_trip(vote in any_vote()) {
        prop_assert_eq!(decode::vote(&encode::vote(&vote)), vote);
    }

    #[test]
    fn append_requests_round_trip(
        from in 1..u64::MAX,
        term in any::<u64>(),
        prev in prop::option::of(any_log_id()),
        committed in prop::option::of(any_log_id()),
        payloads in prop::collection::vec(any_payload(), 0..4),
    ) {
        let first = prev.map_or(0, |prev| prev.index + 1);
        let entries = payloads.into_iter().zip(first..).map(|(payload, index)| Entry {
            log_id: LogId::new_term_index(7, index),
            payload,
        });
        let request = AppendEntriesRequest::<C> {
            vote: Vote { leader_id: LeaderId { term, voted_for: from }, committed: true },
            prev_log_id: prev,
            leader_commit: committed,
            entries: entries.collect(),
        };
        let decoded = decode::append_request::<C>(encode::append_request(from, &request));
        let decoded = decoded.expect("it is well formed");
        prop_assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        prop_assert_eq!(decoded.entries, request.entries);
    }

    #[test]
    fn append_replies_round_trip(last in prop::option::of(any_log_id()), vote in any_vote()) {
        let results: [StreamAppendResult<C>; 3] = [
            Ok(last),
            Err(StreamAppendError::Conflict(last.unwrap_or(LogId::new_term_index(0, 0)))),
            Err(StreamAppendError::HigherVote(vote)),
        ];
        for result in results {
            prop_assert_eq!(decode::append_reply::<C>(&encode::append_reply(&result)), Ok(result));
        }
    }

    /// Whatever fields a peer leaves out or fills with anything: an answer, never a panic.
    #[test]
    fn anything_is_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        use prost::Message;
        if let Ok(request) = v1::AppendRequest::decode(bytes.as_slice()) {
            drop(decode::append_request::<C>(request));
        }
        if let Ok(header) = v1::SnapshotHeader::decode(bytes.as_slice()) {
            drop(decode::snapshot_meta(&header));
        }
        if let Ok(reply) = v1::AppendReply::decode(bytes.as_slice()) {
            drop(decode::append_reply::<C>(&reply));
        }
    }
}

fn request() -> v1::AppendRequest {
    let entry = |index| v1::Entry {
        id: Some(v1::LogId { term: 1, leader_id: 0, index }),
        payload: Some(v1::entry::Payload::Blank(v1::Blank {})),
    };
    v1::AppendRequest {
        from: 2,
        vote: Some(v1::Vote { term: 1, node_id: 2, committed: true }),
        prev: Some(v1::LogId { term: 1, leader_id: 0, index: 4 }),
        committed: None,
        entries: vec![entry(5), entry(6)],
        leader_ms: 0,
    }
}

#[test]
fn an_append_request_that_lies_is_refused() {
    assert!(decode::append_request::<C>(request()).is_ok());
    let lies: [fn(&mut v1::AppendRequest); 8] = [
        |request| request.vote = None,
        |request| request.from = 3,
        |request| request.entries[0].id = None,
        |request| request.entries[1].payload = None,
        |request| request.entries.swap(0, 1),
        |request| request.prev = None,
        |request| request.prev.as_mut().expect("set").index = u64::MAX,
        |request| request.committed = Some(v1::LogId { term: 1, leader_id: 0, index: u64::MAX }),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut request = request();
        lie(&mut request);
        assert!(decode::append_request::<C>(request).is_err(), "lie {number} was believed");
    }
}

#[test]
fn a_membership_without_its_voters_is_refused() {
    let member = v1::Member { node_id: 1, ..Default::default() };
    let unknown_voter = v1::Membership {
        configs: vec![v1::VoterSet { node_ids: vec![1, 2] }],
        members: vec![member.clone()],
    };
    assert!(decode::membership(&unknown_voter).is_err());
    let no_voter = v1::Membership { configs: Vec::new(), members: vec![member] };
    assert!(decode::membership(&no_voter).is_err());
    let none = decode::membership(&v1::Membership::default());
    assert_eq!(none.map(|members| members.nodes().count()), Ok(0));
}

#[test]
fn the_leader_id_of_a_log_id_is_not_stored() {
    let stored = encode::log_id(&LogId::new_term_index(3, 9));
    assert_eq!(stored, v1::LogId { term: 3, leader_id: 0, index: 9 });
}

//! The types openraft is instantiated with. None of them is ever serialised: what reaches the log
//! or the wire is a message of `conclave.v1`, see [`crate::convert`].

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use conclave_store::state::Outcome;
use openraft::vote::RaftLeaderId;
use openraft::{AsyncRuntime, OptionalSend, RaftTypeConfig, alias, impls};

use crate::state_machine::StateMachine;

/// openraft on runtime `R`: tokio in production, a seeded executor in simulation.
pub(crate) struct TypeConfig<R>(PhantomData<fn() -> R>);

impl<R: AsyncRuntime> RaftTypeConfig for TypeConfig<R> {
    type D = CommandBytes;
    type R = Applied;
    type NodeId = u64;
    type Node = MemberInfo;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = alias::DefaultEntryOf<Self>;
    type AsyncRuntime = R;
    type Responder<T>
        = impls::OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = impls::BoxedErrorSource;
}

/// Our instance of openraft.
pub(crate) type RaftOf<R> = openraft::Raft<TypeConfig<R>, StateMachine<R>>;

/// One leader a term, as Raft's paper has it.
pub(crate) type LeaderId = impls::leader_id_std::LeaderId<u64, u64>;
/// Of a leader that a quorum elected only the term matters.
pub(crate) type CommittedLeader = <LeaderId as RaftLeaderId>::Committed;
pub(crate) type Vote = impls::Vote<LeaderId>;
pub(crate) type LogId = openraft::LogId<CommittedLeader>;
pub(crate) type Payload = openraft::EntryPayload<CommandBytes, u64, MemberInfo>;
pub(crate) type Entry = openraft::Entry<CommittedLeader, Payload>;
pub(crate) type Membership = openraft::Membership<u64, MemberInfo>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeader, u64, MemberInfo>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, u64, MemberInfo>;

/// An encoded `conclave.v1.Command`. Raft carries it and never looks inside.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CommandBytes(pub(crate) Bytes);

impl fmt::Debug for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Display for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry did, on its way back to the proposer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied(pub(crate) Outcome);

/// A member without its id, which openraft keeps beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberInfo {
    pub(crate) name: String,
    pub(crate) cluster_addr: String,
    pub(crate) api_addr: String,
    pub(crate) spki_pin: Bytes,
    /// It is to vote once it has caught up, whoever leads then.
    pub(crate) voter_wanted: bool,
    /// An operator let it in.
    pub(crate) approved: bool,
}

impl MemberInfo {
    /// Whether both are one node, voting or not.
    pub(crate) fn is_same_node(&self, other: &Self) -> bool {
        *self == Self { voter_wanted: self.voter_wanted, ..other.clone() }
    }
}

// Deriving these would ask them of `R`, which is never instantiated.
impl<R> fmt::Debug for TypeConfig<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeConfig")
    }
}

impl<R> Clone for TypeConfig<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for TypeConfig<R> {}

impl<R> Default for TypeConfig<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R> PartialEq for TypeConfig<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<R> Eq for TypeConfig<R> {}

impl<R> PartialOrd for TypeConfig<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for TypeConfig<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

//! openraft behind one face.
//!
//! Owns the cluster's order of commands: proposing, the read barrier, membership, leadership and
//! the receiving end of peer messages. Its invariant: what [`Consensus::propose`] answered with
//! an outcome is committed, and what [`Consensus::read_barrier`] answered is at least as new as
//! everything answered before it began, on any node.
//!
//! It sees ciphertext only. It must never know keys, tokens or what a command means, and no other
//! crate knows openraft: its types are neither stored nor sent nor part of this face. It takes
//! time, randomness and tasks from [`conclave_ports`] and from the runtime it is started on, so
//! that a whole cluster runs in one thread under one seed.

// The face, the node behind it, and how it starts.
mod consensus;
mod fetch;
mod node;
mod reconcile;
mod start;

// What a node does when it is asked, and by itself.
mod caretaker;
mod clocks;
mod compaction;
mod disk_watch;
mod greeting;
mod hash_exchange;
mod holds;
mod lack;
mod membership;
mod observer;
mod propose;
mod read_barrier;
mod receive;
mod receiving;
mod succession;
mod witness;

// What openraft is given: storage, network, types.
mod convert;
mod log_storage;
mod network;
mod snapshot;
mod state_machine;
mod transport;
mod types;

// Small tools.
mod blocking;
mod cluster_time;
mod flags;
mod observe;
mod progress;
mod yielding;

pub use consensus::{
    AddMember, Consensus, MemberView, MembershipError, ProposeError, Proposed, Raft, RaftConfig,
    RaftParts, RaftStatus, ReadError, Readiness,
};
pub use greeting::{Greeter, StaysOut};
pub use openraft::impls::TokioRuntime;
pub use start::start;
pub use transport::{PeerError, PeerTransport, SnapshotParts, Target};

//! The port through which `sys/` routes act on the node and the cluster.

use futures::future::BoxFuture;

use crate::Error;
use crate::key_ceremonies::KeyCeremonies;

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its Raft id.
    pub node_id: u64,
    /// Its configured name.
    pub name: String,
    /// `host:port` of its peer listener.
    pub cluster_addr: String,
    /// URL of its public listener.
    pub api_addr: String,
    /// Whether it leads now.
    pub leader: bool,
    /// Whether it votes.
    pub voter: bool,
    /// What it answered just now; none where it did not.
    pub health: Option<MemberHealth>,
}

/// How a member says that it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberHealth {
    /// Whether it holds no keys.
    pub sealed: bool,
    /// The last entry it applied.
    pub applied_index: u64,
    /// Its state hash there.
    pub state_hash: Vec<u8>,
    /// Its disk is at the reserve or too slow to lead.
    pub unfit: bool,
}

/// The membership in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberList {
    /// Ascending by id.
    pub members: Vec<Member>,
    /// The log index that set it.
    pub index: u64,
    /// Rises where history does not simply go on: a recovery, a restore.
    pub epoch: u64,
}

/// What `sys/` routes may ask of the node. The pipeline has authorised the caller before.
pub trait Operator: KeyCeremonies {
    /// Seals this node and keeps it sealed until somebody unseals it.
    fn seal(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Hands leadership to another voter. Runs on the leader.
    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// The membership in force, behind a read barrier.
    fn members(&self) -> BoxFuture<'_, Result<MemberList, Error>>;

    /// Removes the member with this name or decimal id. Runs on the leader.
    fn remove_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>>;

    /// Makes the learner with this name or decimal id a voter. Runs on the leader.
    fn promote_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>>;

    /// Makes the voter with this name or decimal id a learner. Runs on the leader.
    fn demote_member(&self, server_id: String) -> BoxFuture<'_, Result<(), Error>>;

    /// Metrics of this node in Prometheus' text format.
    fn metrics(&self) -> String;
}

//! What is done to a cluster, and what must hold afterwards.

mod backup;
mod bad_input;
mod canary;
mod ceremonies;
mod damage;
mod disk_full;
mod failover;
mod fire;
mod increments;
mod kill;
mod lifecycle;
mod members;
mod membership;
mod model;
mod recover;
mod revocation;
mod rollback;
mod rows;
mod scrub;
mod sealed_node;
mod slow_disk;
mod writers;

use crate::report::Report;

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Lengthens what is counted or timed.
    pub(crate) scale: u32,
    /// Not only what every change must pass.
    pub(crate) full: bool,
    /// Of all choices.
    pub(crate) seed: u64,
}

impl Effort {
    /// How often something is done, for every change and in full.
    pub(crate) fn count(self, ci: u64, full: u64) -> u64 {
        u64::from(self.scale) * if self.full { full } else { ci }
    }
}

/// A workload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// `kill -9` of the leader while 16 clients write.
    KillLeader,
    /// `kill -9` of all nodes at once, with the static seal.
    KillAll,
    /// Lost answers and leader kills must not change a count.
    Increments,
    /// No secret in any file, log, metric or peer frame.
    Canary,
    /// Everything malformed gets its 4xx in time.
    BadInput,
    /// A sealed node replicates, stays sealed over a restart, and serves once unsealed.
    SealedNode,
    /// Root token and new shares by shares, over all nodes.
    Ceremonies,
    /// Nodes leave and join.
    Membership,
    /// Starting, reloading and stopping.
    Lifecycle,
    /// How long writes stop when the leader dies.
    Failover,
    /// Membership changes while clients write and nodes die.
    MembershipUnderFire,
    /// Bytes, pages and files of one node go bad.
    Damage,
    /// A node's whole directory goes back in time.
    Rollback,
    /// No space on one node, on the leader, on all.
    DiskFull,
    /// Syncs that are slow, hang or fail.
    SlowDisk,
    /// Damage under a running node.
    Scrub,
    /// The quorum is lost for good.
    Recover,
    /// Saving, tampering, restoring.
    Backup,
    /// Each known failure of others, at every kind of node.
    Rows,
    /// What was revoked stays so, at every node.
    Revocation,
}

impl Workload {
    pub(crate) const ALL: [Self; 20] = [
        Self::KillLeader,
        Self::KillAll,
        Self::Increments,
        Self::Canary,
        Self::BadInput,
        Self::SealedNode,
        Self::Ceremonies,
        Self::Membership,
        Self::Lifecycle,
        Self::Failover,
        Self::MembershipUnderFire,
        Self::Damage,
        Self::Rollback,
        Self::DiskFull,
        Self::SlowDisk,
        Self::Scrub,
        Self::Recover,
        Self::Backup,
        Self::Rows,
        Self::Revocation,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill-leader",
            Self::KillAll => "kill-all",
            Self::Increments => "increments",
            Self::Canary => "canary",
            Self::BadInput => "bad-input",
            Self::SealedNode => "sealed-node",
            Self::Ceremonies => "ceremonies",
            Self::Membership => "membership",
            Self::Lifecycle => "lifecycle",
            Self::Failover => "failover",
            Self::MembershipUnderFire => "membership-under-fire",
            Self::Damage => "damage",
            Self::Rollback => "rollback",
            Self::DiskFull => "disk-full",
            Self::SlowDisk => "slow-disk",
            Self::Scrub => "scrub",
            Self::Recover => "recover",
            Self::Backup => "backup",
            Self::Rows => "rows",
            Self::Revocation => "revocation",
        }
    }

    /// Runs it on a fresh cluster; answers with its figures.
    pub(crate) async fn run(self, effort: Effort) -> anyhow::Result<Report> {
        let scale = effort.scale;
        match self {
            Self::KillLeader => kill::leader(scale).await.map(Report::from),
            Self::KillAll => kill::all(scale).await.map(Report::from),
            Self::Increments => increments::run(scale).await.map(Report::from),
            Self::Canary => canary::run().await.map(Report::from),
            Self::BadInput => bad_input::run().await.map(Report::from),
            Self::SealedNode => sealed_node::run().await.map(Report::from),
            Self::Ceremonies => ceremonies::run().await.map(Report::from),
            Self::Membership => membership::run().await.map(Report::from),
            Self::Lifecycle => lifecycle::run().await.map(Report::from),
            Self::Failover => failover::run(effort).await,
            Self::MembershipUnderFire => fire::run(effort).await,
            Self::Damage => damage::run(effort).await,
            Self::Rollback => rollback::run(effort).await,
            Self::DiskFull => disk_full::run(effort).await,
            Self::SlowDisk => slow_disk::run(effort).await,
            Self::Scrub => scrub::run(effort).await,
            Self::Recover => recover::run(effort).await,
            Self::Backup => backup::run(effort).await,
            Self::Rows => rows::run().await.map(Report::from),
            Self::Revocation => revocation::run(effort).await,
        }
    }
}

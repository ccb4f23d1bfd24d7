//! What is done to a cluster, and what must hold afterwards.

mod bad_input;
mod canary;
mod increments;
mod kill;
mod lifecycle;
mod membership;
mod sealed_node;
mod writers;

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
    /// Nodes leave and join.
    Membership,
    /// Starting, reloading and stopping.
    Lifecycle,
}

impl Workload {
    pub(crate) const ALL: [Self; 8] = [
        Self::KillLeader,
        Self::KillAll,
        Self::Increments,
        Self::Canary,
        Self::BadInput,
        Self::SealedNode,
        Self::Membership,
        Self::Lifecycle,
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
            Self::Membership => "membership",
            Self::Lifecycle => "lifecycle",
        }
    }

    /// Runs it on a fresh cluster; answers with its figures.
    pub(crate) async fn run(self, scale: u32) -> anyhow::Result<String> {
        match self {
            Self::KillLeader => kill::leader(scale).await,
            Self::KillAll => kill::all(scale).await,
            Self::Increments => increments::run(scale).await,
            Self::Canary => canary::run().await,
            Self::BadInput => bad_input::run().await,
            Self::SealedNode => sealed_node::run().await,
            Self::Membership => membership::run().await,
            Self::Lifecycle => lifecycle::run().await,
        }
    }
}

//! `conclave operator raft`: the same commands under the names that other suites have for them.

use clap::{Args, Subcommand};

use super::members::List;
use super::snapshot::Snapshot;
use super::{Context, Failure, member, success};
use crate::output::Output;

/// The members and backups, by the words of other suites.
#[derive(Debug, Subcommand)]
pub(crate) enum Raft {
    /// List the members, as `operator members`
    ListPeers(List),
    /// Remove a member, as `operator members remove`
    RemovePeer(member::Remove),
    /// Make a learner a voter, as `operator members promote`
    Promote(member::Promote),
    /// Make a voter a learner, as `operator members demote`
    Demote(member::Demote),
    /// Make the node at the first address, which belongs to no cluster, a member of one
    Join(Join),
    /// Save, check and restore backups, as `operator snapshot`
    #[command(subcommand)]
    Snapshot(Snapshot),
}

/// Join a cluster.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// A token of `operator join-token`; without one the node proves itself by its join secret
    #[arg(long, value_name = "TOKEN")]
    join_token: Option<String>,
    /// The peer listener of a member; without it the token or the node's configuration says whom to ask
    #[arg(long, value_name = "HOST:PORT")]
    leader_cluster_addr: Option<String>,
    /// Stay a learner
    #[arg(long)]
    non_voter: bool,
}

impl Raft {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::ListPeers(list) => list.run(context).await,
            Self::RemovePeer(remove) => remove.run(context).await,
            Self::Promote(promote) => promote.run(context).await,
            Self::Demote(demote) => demote.run(context).await,
            Self::Join(join) => join.run(context).await,
            Self::Snapshot(snapshot) => snapshot.run(context).await,
        }
    }
}

impl Join {
    async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let address = context.node_address()?;
        let operator = context.client().await?.operator();
        let token = self.join_token.as_deref().unwrap_or_default();
        let leader = self.leader_cluster_addr.as_deref().unwrap_or_default();
        operator.join(&address, token, leader, self.non_voter).await?;
        Ok(success(format, "The node has joined; it is sealed until it is unsealed."))
    }
}

//! `conclave operator`: the cluster's and its nodes' own affairs.

mod generate_root;
mod init;
mod join_token;
mod key_status;
mod member;
mod members;
mod raft;
mod rekey;
mod rotate;
mod seal;
mod share;
mod snapshot;
mod step_down;
mod unseal;

use clap::Subcommand;
use serde_json::json;

use super::{Context, Failure};
use crate::output::{Format, Output};

/// Initialise, unseal, seal and look after the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Operator {
    /// Initialise a new cluster with the node at the first address; prints keys and root token once
    Init(init::Init),
    /// Give the node at the first address one unseal key
    Unseal(unseal::Unseal),
    /// Seal the node at the first address, or all with -all
    Seal(seal::Seal),
    /// Make a root token with unseal keys, where none is left
    GenerateRoot(generate_root::GenerateRoot),
    /// Split the unseal key anew, among other people or into other numbers
    #[command(alias = "rotate-keys")]
    Rekey(rekey::Rekey),
    /// Encrypt what is written from now on with a new key
    Rotate(rotate::Rotate),
    /// Show the key that encrypts what is written
    KeyStatus(key_status::KeyStatus),
    /// List the members, or change one
    Members(members::Members),
    /// Make a token with which one new node can join
    JoinToken(join_token::JoinToken),
    /// Make the leader hand leadership to another node
    StepDown(step_down::StepDown),
    /// Remove a member; it never comes back under its id
    RemovePeer(member::Remove),
    /// Save, check and restore backups of the whole cluster
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// The members and backups, by the words of other suites
    #[command(subcommand)]
    Raft(raft::Raft),
}

impl Operator {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::Init(init) => init.run(context).await,
            Self::Unseal(unseal) => unseal.run(context).await,
            Self::Seal(seal) => seal.run(context).await,
            Self::GenerateRoot(generate_root) => generate_root.run(context).await,
            Self::Rekey(rekey) => rekey.run(context).await,
            Self::Rotate(rotate) => rotate.run(context).await,
            Self::KeyStatus(key_status) => key_status.run(context).await,
            Self::Members(members) => members.run(context).await,
            Self::JoinToken(join_token) => join_token.run(context).await,
            Self::StepDown(step_down) => step_down.run(context).await,
            Self::RemovePeer(remove) => remove.run(context).await,
            Self::Snapshot(snapshot) => snapshot.run(context).await,
            Self::Raft(raft) => raft.run(context).await,
        }
    }
}

/// The answer of a command that has nothing else to say.
fn success(format: Format, message: &str) -> Output {
    if format.is_table() {
        return Output::good(format!("Success! {message}\n"));
    }
    Output::document(format, &json!({ "success": true }))
}

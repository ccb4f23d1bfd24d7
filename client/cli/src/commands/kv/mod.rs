//! `conclave kv`: secrets in key-value mounts of both versions. Which version a mount has is asked
//! of the cluster; the paths of version 2 are put together here.

mod delete;
mod get;
mod list;
mod metadata;
mod patch;
mod place;
mod put;
mod rollback;
mod versions;

use clap::Subcommand;

use super::{Context, Failure};
use crate::output::Output;

/// Secrets in key-value mounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Kv {
    /// Write a secret, in mounts with versions as a new one
    Put(put::Put),
    /// Read a secret
    Get(get::Get),
    /// Change some fields of a secret
    Patch(patch::Patch),
    /// List the names below a path; those that end in `/` have more below them
    List(list::List),
    /// Delete versions of a secret, the newest by default; they can be brought back
    Delete(delete::Delete),
    /// Bring deleted versions of a secret back
    Undelete(versions::Undelete),
    /// Remove the data of versions of a secret for good
    Destroy(versions::Destroy),
    /// Make an old version the newest again
    Rollback(rollback::Rollback),
    /// Settings and history of a secret
    #[command(subcommand)]
    Metadata(metadata::Metadata),
}

impl Kv {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::Put(put) => put.run(context).await,
            Self::Get(get) => get.run(context).await,
            Self::Patch(patch) => patch.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Delete(delete) => delete.run(context).await,
            Self::Undelete(undelete) => undelete.run(context).await,
            Self::Destroy(destroy) => destroy.run(context).await,
            Self::Rollback(rollback) => rollback.run(context).await,
            Self::Metadata(metadata) => metadata.run(context).await,
        }
    }
}

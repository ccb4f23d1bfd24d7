//! `conclave auth`: auth methods.

use clap::{Args, Subcommand};

use super::mount::{Disable, Enable, Kind, List, Relocate, Tune};
use super::{Context, Failure, path, path_help};
use crate::output::Output;

/// Auth methods.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Auth {
    /// Enable an auth method
    Enable(Enable),
    /// Disable an auth method; all that it stores is deleted, and its tokens end
    Disable(Disable),
    /// List the auth methods
    List(List),
    /// Change settings of an auth method
    Tune(Tune),
    /// Move an auth method with all that it stores
    Move(Relocate),
    /// What an auth method is for
    Help(Help),
}

/// What an auth method is for.
#[derive(Debug, Args)]
pub(crate) struct Help {
    /// Where it is enabled
    #[arg(value_name = "PATH")]
    path: String,
}

impl Auth {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let kind = Kind::Auth;
        match self {
            Self::Enable(enable) => enable.run(kind, context).await,
            Self::Disable(disable) => disable.run(kind, context).await,
            Self::List(list) => list.run(kind, context).await,
            Self::Tune(tune) => tune.run(kind, context).await,
            Self::Move(relocate) => relocate.run(kind, context).await,
            Self::Help(help) => {
                let path = path::clean(&help.path)?;
                let mount = path.strip_prefix("auth/").unwrap_or(&path);
                path_help::of_path(context, &format!("auth/{mount}")).await
            }
        }
    }
}

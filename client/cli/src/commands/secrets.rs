//! `conclave secrets`: secrets engines.

use clap::Subcommand;

use super::mount::{Disable, Enable, Kind, List, Relocate, Tune};
use super::{Context, Failure};
use crate::output::Output;

/// Secrets engines.
#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// Enable a secrets engine
    Enable(Enable),
    /// Disable a secrets engine; all that it stores is deleted
    Disable(Disable),
    /// List the secrets engines
    List(List),
    /// Change settings of a secrets engine
    Tune(Tune),
    /// Move a secrets engine with all that it stores
    Move(Relocate),
}

impl Secrets {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let kind = Kind::Secrets;
        match self {
            Self::Enable(enable) => enable.run(kind, context).await,
            Self::Disable(disable) => disable.run(kind, context).await,
            Self::List(list) => list.run(kind, context).await,
            Self::Tune(tune) => tune.run(kind, context).await,
            Self::Move(relocate) => relocate.run(kind, context).await,
        }
    }
}

//! `conclave kv list`.

use clap::Args;

use super::place::Place;
use super::{Context, Failure};
use crate::commands::list::show;
use crate::commands::read::nothing_at;
use crate::output::Output;

/// List the names below a path.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Place,
}

impl List {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let api = context.api().await?;
        let path = self.place.directory(&api).await?.path("metadata");
        let answer = api.list(&path).await?.ok_or_else(|| nothing_at(&path))?;
        show(&answer, format, &path)
    }
}

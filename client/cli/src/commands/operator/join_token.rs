//! `conclave operator join-token`.

use clap::Args;
use serde_json::json;

use super::{Context, Failure};
use crate::output::{Format, Output};

/// Make a token with which one new node can join.
#[derive(Debug, Args)]
pub(crate) struct JoinToken {
    /// How long it lives, in seconds, at most 600
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    ttl: u64,
}

impl JoinToken {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let ttl_ms = self.ttl.saturating_mul(1000);
        let made = context.client().await?.operator().create_join_token(ttl_ms).await?;
        Ok(match format {
            // Alone on its line, so that a script can take it as it is.
            Format::Table => Output::good(format!("{}\n", made.token)),
            format => {
                let document = json!({ "token": made.token, "ttl_ms": made.ttl_ms });
                Output::document(format, &document)
            }
        })
    }
}

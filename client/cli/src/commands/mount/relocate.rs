//! `move`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Failure, Kind};
use crate::commands::Api;
use crate::output::Output;

/// Move a secrets engine or an auth method with all that it stores.
#[derive(Debug, Args)]
pub(crate) struct Relocate {
    /// Where it is
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where it shall be
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

impl Relocate {
    pub(crate) async fn run(&self, kind: Kind, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let full = |typed: &str| -> Result<String, Failure> {
            let mount = kind.mount(typed)?;
            Ok(if kind == Kind::Auth { format!("auth/{mount}/") } else { format!("{mount}/") })
        };
        let (from, to) = (full(&self.source)?, full(&self.destination)?);
        let api = context.api().await?;
        let doing = format!("moving {} {from} to {to}", kind.words());
        let answer = api.write(&doing, "sys/remount", &json!({ "from": from, "to": to })).await?;
        let id = answer.data.get("migration_id").and_then(Value::as_str).unwrap_or_default();
        finished(&api, id).await?;
        let what = kind.words().trim_start_matches("the ");
        Ok(Output::done(
            format,
            &format!("Success! Finished moving {what} {from} to {to}, with migration ID {id}"),
        ))
    }
}

/// Waits until the move is over.
async fn finished(api: &Api, id: &str) -> Result<(), Failure> {
    let path = format!("sys/remount/status/{id}");
    for _ in 0..LOOKS_MAX {
        let answer = api.read(&path, &BTreeMap::new()).await?.unwrap_or_default();
        let status =
            answer.data.get("migration_info").and_then(|info| info.get("status")?.as_str());
        match status {
            Some("success") => return Ok(()),
            Some("in-progress") => std::thread::sleep(PAUSE),
            _ => {
                return Err(Failure::Server(format!(
                    "the move {id} has failed; look at the node's log"
                )));
            }
        }
    }
    Err(Failure::Server(format!("the move {id} still goes on; ask for it at {path}")))
}

const PAUSE: Duration = Duration::from_secs(1);
/// A quarter of an hour.
const LOOKS_MAX: u32 = 900;

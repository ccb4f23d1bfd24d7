//! `conclave operator rekey`.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use conclave_sdk::Operation;
use serde_json::{Value, json};

use super::generate_root::cancel;
use super::share::Given;
use super::{Context, Failure};
use crate::answer::Answer;
use crate::commands::Api;
use crate::output::{self, Format, Output};

/// Split the unseal key anew.
#[derive(Args)]
pub(crate) struct Rekey {
    /// Begin
    #[arg(long, conflicts_with_all = ["cancel", "status"])]
    init: bool,
    /// Give up; with -verify, begin giving the new shares back over
    #[arg(long, conflicts_with = "status")]
    cancel: bool,
    /// Show how far it is
    #[arg(long)]
    status: bool,
    /// Into how many shares, for -init [default: 5]
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value_t = 5,
        hide_default_value = true
    )]
    key_shares: u32,
    /// How many of them unseal a node, for -init [default: 3]
    #[arg(
        short = 't',
        long,
        value_name = "NUMBER",
        default_value_t = 3,
        hide_default_value = true
    )]
    key_threshold: u32,
    /// With -init: the new shares count only once enough of them were given back. Without it: gives
    /// one of them back
    #[arg(long)]
    verify: bool,
    /// The attempt that the key is for, as -init showed it
    #[arg(long, value_name = "NONCE")]
    nonce: Option<String>,
    /// barrier: the unseal key; recovery: the recovery key of a seal that opens by itself
    #[arg(long, value_enum, default_value = "barrier", value_name = "KEY")]
    target: Target,
    /// An unseal key. Better leave it out, for other users see a command line: it is then asked
    /// for; - reads it from standard input
    #[arg(value_name = "KEY")]
    key: Option<String>,
}

/// Which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    #[value(alias = "hsm")]
    Barrier,
    Recovery,
}

impl std::fmt::Debug for Rekey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rekey").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Rekey {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let api = context.api().await?;
        if self.init {
            let body = json!({
                "secret_shares": self.key_shares, "secret_threshold": self.key_threshold,
                "require_verification": self.verify,
            });
            let begun = api.write("initializing rekey", &self.path("init"), &body).await?;
            return Ok(render_status(&begun, format));
        }
        let now = self.look(&api).await?;
        if self.status {
            return Ok(render_status(&now, format));
        }
        let nonce_now = text(&now, "nonce");
        if self.cancel {
            let path = self.path(if self.verify { "verify" } else { "init" });
            cancel(&api, &path, "canceling rekey", &nonce_now).await?;
            return Ok(Output::done(format, "Success! Canceled rekeying (if it was started)"));
        }
        if text(&now, "started") != "true" {
            let program = context.style.program();
            return Err(Failure::local(format!(
                "No rekey is in progress. Start a rekey process by running \
                 \"{program} operator rekey -init\"."
            )));
        }
        self.give(&api, &nonce_now, format).await
    }

    async fn give(&self, api: &Api, nonce_now: &str, format: Format) -> Result<Output, Failure> {
        let given = Given { key: self.key.as_deref(), nonce: self.nonce.as_deref() };
        let (key, nonce) = given.read(nonce_now)?;
        let path = self.path(if self.verify { "verify" } else { "update" });
        let body = json!({ "key": key, "nonce": nonce });
        let answer = api.write("posting unseal key", &path, &body).await?;
        if text(&answer, "complete") != "true" {
            return Ok(render_status(&answer, format));
        }
        if self.verify {
            let done = "Success! Rekey verification successful. The rekey operation is complete \
                        and the new keys are now active.";
            return Ok(Output::done(format, done));
        }
        // How they were split is told before and behind, not beside them.
        let plan = self.look(api).await.unwrap_or_default();
        Ok(render_keys(&answer, &plan, format))
    }

    async fn look(&self, api: &Api) -> Result<Answer, Failure> {
        let path = self.path(if self.verify { "verify" } else { "init" });
        let doing = "getting rekey status";
        api.call(doing, Operation::Read, &path, &BTreeMap::new(), None).await
    }

    fn path(&self, step: &str) -> String {
        match self.target {
            Target::Barrier => format!("sys/rekey/{step}"),
            Target::Recovery => format!("sys/rekey-recovery-key/{step}"),
        }
    }
}

fn text(answer: &Answer, name: &str) -> String {
    answer.data.get(name).map(output::plain).unwrap_or_default()
}

/// How far it is, of either half.
fn render_status(answer: &Answer, format: Format) -> Output {
    if !format.is_table() {
        return Output::document(format, &answer.data);
    }
    let of = |name: &str| text(answer, name);
    let started = of("started") == "true";
    let mut rows = vec![("Nonce", of("nonce")), ("Started", of("started"))];
    if started {
        // A verification has as many steps as the new threshold.
        let required = if of("required").is_empty() { of("t") } else { of("required") };
        rows.push(("Rekey Progress", format!("{}/{required}", of("progress"))));
        rows.push(("New Shares", of("n")));
        rows.push(("New Threshold", of("t")));
    }
    if answer.data.get("verification_required").is_some() {
        rows.push(("Verification Required", of("verification_required")));
    }
    if !of("verification_nonce").is_empty() {
        rows.push(("Verification Nonce", of("verification_nonce")));
    }
    Output::good(output::pairs(rows))
}

/// The new shares, once.
fn render_keys(answer: &Answer, plan: &Answer, format: Format) -> Output {
    if !format.is_table() {
        return Output::document(format, &answer.data);
    }
    let keys = answer.data.get("keys_base64").and_then(Value::as_array).cloned();
    let keys = keys.unwrap_or_default();
    let mut shown = String::new();
    for (place, key) in (1..).zip(&keys) {
        shown += &format!("Key {place}: {}\n", output::plain(key));
    }
    shown += &format!("\nOperation nonce: {}\n\n", text(answer, "nonce"));
    let (shares, threshold) = (keys.len(), text(plan, "t"));
    let waits = text(answer, "verification_required") == "true";
    shown += &if waits {
        format!(
            "The unseal key is split into {shares} new shares. They do not count until {threshold} \
             of them\nwere given back with `operator rekey -verify`; until then the old ones \
             unseal.\n\nVerification nonce: {}\n",
            text(answer, "verification_nonce")
        )
    } else {
        format!(
            "The unseal key is split into {shares} new shares, which are shown this once: give each \
             to\nanother person. The old ones are worthless from now on.\n"
        )
    };
    Output::good(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(data: Value) -> Answer {
        Answer { data, ..Answer::default() }
    }

    #[test]
    fn progress_is_shown_as_agreed() {
        let begun = answer(json!({
            "nonce": "n-1", "started": true, "t": 2, "n": 4, "progress": 1, "required": 3,
            "pgp_fingerprints": null, "backup": false, "verification_required": true,
        }));
        crate::golden::check("output/rekey-status.txt", &render_status(&begun, Format::Table).text);
        let idle = answer(json!({
            "nonce": "", "started": false, "t": 0, "n": 0, "progress": 0, "required": 3,
            "verification_required": false,
        }));
        crate::golden::check("output/rekey-idle.txt", &render_status(&idle, Format::Table).text);
        let verified =
            answer(json!({"nonce": "v-1", "started": true, "t": 2, "n": 4, "progress": 1}));
        let shown = render_status(&verified, Format::Table).text;
        crate::golden::check("output/rekey-verify.txt", &shown);
    }

    #[test]
    fn new_shares_are_shown_as_agreed() {
        let plan = answer(json!({"t": 1}));
        let keys = |required| {
            answer(json!({
                "nonce": "n-1", "complete": true, "keys": ["01", "02"],
                "keys_base64": ["AQ==", "Ag=="], "verification_required": required,
                "verification_nonce": "v-1",
            }))
        };
        let shown = |required| render_keys(&keys(required), &plan, Format::Table).text;
        crate::golden::check("output/rekey-keys.txt", &shown(false));
        crate::golden::check("output/rekey-keys-unverified.txt", &shown(true));
    }

    #[test]
    fn either_key_has_its_paths() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            rekey: Rekey,
        }
        let path = |line: &str| {
            let words = crate::flags::rewrite(line.split(' ').map(Into::into).collect());
            Line::try_parse_from(words).ok().map(|line| line.rekey.path("init"))
        };
        assert_eq!(path("rekey -init").as_deref(), Some("sys/rekey/init"));
        let recovery = path("rekey -init -target=recovery -key-shares=1 -key-threshold=1");
        assert_eq!(recovery.as_deref(), Some("sys/rekey-recovery-key/init"));
        assert_eq!(path("rekey -init -cancel"), None);
    }
}

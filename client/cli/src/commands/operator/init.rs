//! `conclave operator init`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use conclave_sdk::InitResult;
use serde_json::{Value, json};

use super::{Context, Failure};
use crate::output::Output;

/// Initialise a new cluster.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Into how many shares the unseal key is split [default: 5]
    #[arg(long, value_name = "NUMBER")]
    key_shares: Option<u32>,
    /// How many of them unseal a node [default: 3]
    #[arg(long, value_name = "NUMBER")]
    key_threshold: Option<u32>,
}

impl Init {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let address = context.node_address()?;
        let operator = context.client().await?.operator();
        let status = operator.status(Some(&address)).await?;
        let (shares, threshold) = self.split(&status.seal_type);
        let made = operator.init(&address, shares, threshold).await;
        let made = made.map_err(|error| next_step(error.into(), status.initialized))?;
        if format.is_table() {
            return Ok(Output::good(render(&made, &status.seal_type, shares, threshold)));
        }
        let document = document(&made, &status.seal_type, shares, threshold);
        Ok(Output::document(format, &document))
    }

    /// A seal that opens by itself needs no shares.
    fn split(&self, seal_type: &str) -> (u32, u32) {
        let (shares, threshold) = if seal_type == SHAMIR { (5, 3) } else { (0, 0) };
        (self.key_shares.unwrap_or(shares), self.key_threshold.unwrap_or(threshold))
    }
}

/// Nothing is wrong with a cluster that is initialised; the way on is another command.
fn next_step(failure: Failure, initialized: bool) -> Failure {
    match failure {
        Failure::Server(message) if initialized => Failure::Server(format!(
            "{message}; see `conclave status`, and run `conclave operator unseal` if it is sealed"
        )),
        other => other,
    }
}

fn render(made: &InitResult, seal_type: &str, shares: u32, threshold: u32) -> String {
    let kind = if seal_type == SHAMIR { "Unseal" } else { "Recovery" };
    let mut text = String::new();
    for (place, key) in (1..).zip(&made.keys) {
        text += &format!("{kind} Key {place}: {}\n", STANDARD.encode(key));
    }
    text += &format!("\nInitial Root Token: {}\n\n", made.root_token);
    text += if seal_type == SHAMIR { "" } else { "The nodes unseal by themselves.\n" };
    if !made.keys.is_empty() {
        text += &format!(
            "The key is split into {shares} shares, of which any {threshold} are needed. They are\n\
             shown this once: give each to another person, and keep none beside the nodes.\n"
        );
    }
    text
}

fn document(made: &InitResult, seal_type: &str, shares: u32, threshold: u32) -> Value {
    let base64: Vec<String> = made.keys.iter().map(|key| STANDARD.encode(key)).collect();
    let hexadecimal: Vec<String> = made.keys.iter().map(hex::encode).collect();
    let (here, there) =
        if seal_type == SHAMIR { ("unseal", "recovery") } else { ("recovery", "unseal") };
    let mut document = serde_json::Map::new();
    for (kind, given) in [(here, true), (there, false)] {
        let keys = |keys: &[String]| if given { json!(keys) } else { json!([]) };
        let number = |number: u32| if given { json!(number) } else { json!(0) };
        let names = if kind == "unseal" {
            ["unseal_keys_b64", "unseal_keys_hex", "unseal_shares", "unseal_threshold"]
        } else {
            [
                "recovery_keys_b64",
                "recovery_keys_hex",
                "recovery_keys_shares",
                "recovery_keys_threshold",
            ]
        };
        let values = [keys(&base64), keys(&hexadecimal), number(shares), number(threshold)];
        document.extend(names.map(str::to_owned).into_iter().zip(values));
    }
    document.insert("root_token".into(), json!(made.root_token));
    Value::Object(document)
}

/// The seal whose keys people hold.
const SHAMIR: &str = "shamir";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, output};

    fn made() -> InitResult {
        let keys = vec![vec![1; 33].into(), vec![2; 33].into()];
        InitResult { keys, root_token: "hvs.000000000000000000000000".into() }
    }

    #[test]
    fn keys_and_token_are_shown_as_agreed() {
        golden::check("output/init.txt", &render(&made(), "shamir", 2, 1));
        golden::check("output/init.json", &output::pretty(&document(&made(), "shamir", 2, 1)));
    }

    #[test]
    fn with_a_seal_that_opens_by_itself_there_are_recovery_keys_or_none() {
        golden::check("output/init-static.txt", &render(&made(), "static", 2, 1));
        let none = InitResult { keys: Vec::new(), ..made() };
        golden::check("output/init-static-none.txt", &render(&none, "static", 0, 0));
        let document = document(&none, "static", 0, 0);
        golden::check("output/init-static-none.json", &output::pretty(&document));
    }

    #[test]
    fn who_initialises_again_learns_the_way_on() {
        let refused = || Failure::Server("Vault is already initialized".into());
        let told = next_step(refused(), true).to_string();
        assert!(told.starts_with("Vault is already initialized; see `conclave status`"), "{told}");
        assert_eq!(next_step(refused(), false).to_string(), "Vault is already initialized");
    }

    #[test]
    fn the_split_follows_the_seal_unless_it_is_given() {
        let default = Init { key_shares: None, key_threshold: None };
        assert_eq!(default.split("shamir"), (5, 3));
        assert_eq!(default.split("static"), (0, 0));
        let given = Init { key_shares: Some(1), key_threshold: Some(1) };
        assert_eq!(given.split("static"), (1, 1));
    }
}

//! `conclave operator unseal`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::{Context, Failure};
use crate::commands::status;
use crate::output::Output;
use crate::terminal;

/// Give a node one unseal key.
#[derive(Args)]
pub(crate) struct Unseal {
    /// The key, base64 or hexadecimal. Better leave it out, for other users see a command line:
    /// it is then asked for, or read as one line from standard input
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// Make the node forget the keys given so far
    #[arg(long)]
    reset: bool,
}

impl std::fmt::Debug for Unseal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unseal").field("reset", &self.reset).finish_non_exhaustive()
    }
}

impl Unseal {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let address = context.node_address()?;
        let operator = context.client().await?.operator();
        let status = if self.reset {
            operator.unseal_reset(&address).await?
        } else {
            operator.unseal(&address, self.key()?).await?
        };
        // Progress is a success, also while more keys are needed.
        Ok(Output::good(status::render(&status, format).text))
    }

    fn key(&self) -> Result<Vec<u8>, Failure> {
        let text = match &self.key {
            Some(key) => key.trim().to_owned(),
            None => terminal::read_secret("Unseal Key (will be hidden): ")?,
        };
        decode(&text)
    }
}

/// Hexadecimal digits only are hexadecimal; anything else must be base64. The message does not
/// repeat the key.
fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    let key = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok());
    key.filter(|key| !key.is_empty()).ok_or_else(|| {
        Failure::local("the key is neither hexadecimal nor base64; copy the whole line".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_key_are_read() {
        let key: Vec<u8> = (0..33).collect();
        assert_eq!(decode(&hex::encode(&key)).expect("hexadecimal"), key);
        assert_eq!(decode(&STANDARD.encode(&key)).expect("base64"), key);
    }

    #[test]
    fn a_bad_key_is_not_repeated() {
        for text in ["", "canary!"] {
            let failure = decode(text).expect_err("not a key");
            assert!(!failure.to_string().contains("canary"));
        }
    }
}

//! A share of a key that a person gives, and the attempt that it is for.

use super::Failure;
use crate::terminal;

/// What stands on the command line.
pub(super) struct Given<'a> {
    /// The share; `-` for standard input, nothing for a question at the terminal.
    pub(super) key: Option<&'a str>,
    /// The nonce of the attempt.
    pub(super) nonce: Option<&'a str>,
}

impl Given<'_> {
    /// The share, and the nonce. A share that comes from a script must say which attempt it is for:
    /// another one may have been started meanwhile. A person at a terminal is shown it.
    pub(super) fn read(&self, nonce_now: &str) -> Result<(String, String), Failure> {
        let named = self.nonce.filter(|nonce| !nonce.is_empty());
        let missing =
            || Failure::local("Missing nonce value: specify it via the -nonce flag".into());
        match self.key {
            None => {
                let nonce = named.unwrap_or(nonce_now).to_owned();
                let prompt = format!("Operation nonce: {nonce}\nUnseal Key (will be hidden): ");
                Ok((terminal::read_secret(&prompt)?, nonce))
            }
            Some("-") => {
                let nonce = named.ok_or_else(missing)?.to_owned();
                Ok((terminal::read_secret("Unseal Key (will be hidden): ")?, nonce))
            }
            Some(key) => Ok((key.trim().to_owned(), named.ok_or_else(missing)?.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_on_the_command_line_names_its_attempt() {
        let read = |nonce| Given { key: Some(" ab "), nonce }.read("now").ok();
        assert_eq!(read(Some("n")), Some(("ab".to_owned(), "n".to_owned())));
        assert_eq!(read(None), None);
        assert_eq!(read(Some("")), None);
    }
}
